"""Derivatives by differences of J, each with an error bar; judges nothing."""
