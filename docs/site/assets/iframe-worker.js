// Browsers refuse workers to pages that were opened from a folder (file:). There the worker's script runs in a
// hidden frame instead, so that search works; everywhere else this does nothing.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.srcdoc = `<script>self.postMessage = data => frameElement.tell(data)</` + `script>
        <script src=${JSON.stringify(String(url))}></` + `script>`;
      this.frame.tell = data => setTimeout(() => this.dispatchEvent(new MessageEvent("message", { data })));
      this.loaded = new Promise(done => this.frame.addEventListener("load", done, { once: true }));
      document.body.appendChild(this.frame);
    }
    postMessage(data) {
      this.loaded.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {
      this.frame.remove();
    }
  };
}
