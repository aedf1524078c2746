"""J at the points of a plan: plans, engines, and the stream that consumes them."""
