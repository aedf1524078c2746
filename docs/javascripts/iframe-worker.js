// Browsers refuse workers to a page that was opened from a folder. There, the search, which is the
// only one, runs in a hidden frame: its script posts to the frame's window as a worker's would.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.documentElement.append(frame);
      this.inside = frame.contentWindow;
      this.inside.postMessage = (data) => this.tell(this, MessageEvent, data);
      const script = this.inside.document.createElement("script");
      script.src = url;
      this.started = new Promise((done) => script.addEventListener("load", done));
      this.inside.document.body.append(script);
    }

    tell(target, Message, data) {
      const event = new Message("message", { data });
      target.dispatchEvent(event);
      if (target.onmessage) target.onmessage(event);
    }

    postMessage(data) {
      this.started.then(() => this.tell(this.inside, this.inside.MessageEvent, data));
    }

    terminate() {
      this.inside.frameElement.remove();
    }
  };
}
