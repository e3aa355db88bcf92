// SPDX-License-Identifier: Apache-2.0
// A VM's serial console. Escape sequences that place the cursor or colour text are left out; Ctrl-] leaves, as on the command line.

import { element } from "./api.js";

const KEPT_CHARACTERS = 60000;
const KEYS = { Enter: "\r", Backspace: "\x7f", Tab: "\t", Escape: "\x1b", ArrowUp: "\x1b[A", ArrowDown: "\x1b[B", ArrowRight: "\x1b[C", ArrowLeft: "\x1b[D", Home: "\x1b[H", End: "\x1b[F", Delete: "\x1b[3~" };
const SEQUENCES = /\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Z0-9]|[@-Z\\-_=>])/g;

/** What a key types; nothing: the browser's own. */
export function bytes_of(event) {
  if (event.altKey || event.metaKey) return "";
  if (event.ctrlKey) {
    const code = event.key.toUpperCase().charCodeAt(0);
    return event.key.length === 1 && code >= 64 && code < 96 ? String.fromCharCode(code - 64) : "";
  }
  return KEYS[event.key] ?? (event.key.length === 1 ? event.key : "");
}

/** Text with what came behind it, as a terminal that only goes on would show it. */
export function printed(text, more) {
  for (const part of more.replace(SEQUENCES, "").split(/([\b\x00\x07])/)) {
    if (part === "\b") text = text.slice(0, -1);
    else if (part !== "\x00" && part !== "\x07") text += part.replaceAll("\r", "");
  }
  return text.slice(-KEPT_CHARACTERS);
}

export class Console {
  constructor(vm, leave) {
    this.screen = element("pre", { className: "console", tabIndex: 0, role: "textbox", "aria-multiline": "true", "aria-label": `console of ${vm}; Ctrl-] leaves` });
    this.leave = leave;
    this.text = "";
    this.decoder = new TextDecoder();
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}/v1/vms/${encodeURIComponent(vm)}/console`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = (event) => this.print(this.decoder.decode(event.data, { stream: true }));
    this.socket.onclose = () => this.print("\n[the console is closed]\n");
    this.screen.addEventListener("keydown", (event) => this.press(event));
    this.screen.addEventListener("paste", (event) => { event.preventDefault(); this.type(event.clipboardData.getData("text").replaceAll("\n", "\r")); });
  }

  print(more) {
    const follows = this.screen.scrollTop + this.screen.clientHeight >= this.screen.scrollHeight - 20;
    this.text = printed(this.text, more);
    this.screen.textContent = this.text;
    if (follows) this.screen.scrollTop = this.screen.scrollHeight;
  }

  press(event) {
    if (event.ctrlKey && event.key === "]") { event.preventDefault(); return this.leave(); }
    if (event.ctrlKey && "cv".includes(event.key) && event.shiftKey) return;
    const bytes = bytes_of(event);
    if (!bytes || (event.ctrlKey && event.key === "v")) return;
    event.preventDefault();
    this.type(bytes);
  }

  type(text) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(new TextEncoder().encode(text));
  }

  close() {
    this.socket.onclose = null;
    this.socket.close();
    this.screen.remove();
  }
}
