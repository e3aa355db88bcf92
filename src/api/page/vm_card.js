// SPDX-License-Identifier: Apache-2.0
// A VM: what it is doing, and what may be done with it.

import { ask, element } from "./api.js";
import { Chart } from "./chart.js";
import { Console } from "./console.js";

const DRASTIC = ["poweroff", "reset"];
/** What a button can ask for: not what only asks, and nothing that needs words. */
const has_button = (action) => !["status", "console"].includes(action.name) && !action.arguments.some((argument) => argument.required);

const mib = (bytes) => `${Math.round(bytes / 1048576)} MiB`;
const bits = (rate) => (rate >= 1e6 ? `${(rate / 1e6).toFixed(2)} Mbit/s` : `${(rate / 1e3).toFixed(1)} kbit/s`);

function protection(vm) {
  if (vm.error) return [vm.error, "bad"];
  if (vm.role === "backup") return [`backup of ${vm.peer}`, "good"];
  if (vm.role === "waiting") return [`nothing leaves here now: ${vm.why}`, "bad"];
  return vm.protected ? [`protected by ${vm.peer}`, "good"] : [`not protected: ${vm.no_backup_why || vm.why}`, "busy"];
}

function facts(vm) {
  const list = [["Execution lag", `${vm.lag_ms} ms`], ["Speed", `${vm.speed_permille / 10} %`], ["Log", bits(vm.log_bits_per_second)],
    ["Guest", `${Math.round(vm.guest.busy_permille / 10)} % of a processor${vm.guest.panics ? `, ${vm.guest.panics} panics` : ""}`],
    ["Term", String(vm.term)], ["Memory", mib(vm.memory_bytes ?? 0)]];
  for (const network of vm.networks ?? []) if (network.fault) list.push(["Network", `${network.tap}: ${network.fault}`]);
  return list;
}

export class VmCard {
  constructor(name, say) {
    this.name = name;
    this.say = say;
    this.mark = element("span", { className: "mark" });
    this.protection = element("p", { className: "protection" });
    this.copy = element("div", { className: "copy", hidden: true });
    this.facts = element("dl");
    this.chart = new Chart(`execution lag of ${name} in ms`);
    this.actions = element("ul", { className: "actions" });
    this.place = element("div");
    this.console_button = element("button", { type: "button", "aria-expanded": "false", onclick: () => this.toggle_console() }, "console");
    this.element = element("article", { id: `vm-${name}`, "aria-label": `VM ${name}` },
      element("header", {}, element("h3", {}, name), this.mark), this.protection, this.copy, this.facts, this.chart.element,
      element("h4", {}, "Actions"), this.actions, this.place);
  }

  show(vm) {
    const before = this.vm;
    this.vm = vm;
    const [sentence, mood] = protection(vm);
    this.mark.textContent = vm.role ?? "silent";
    this.mark.className = `mark ${mood}`;
    this.protection.textContent = sentence;
    this.protection.className = `protection ${mood}`;
    this.show_copy(vm.copy);
    if (vm.error) return;
    this.facts.replaceChildren(...facts(vm).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
    this.chart.add(vm.lag_ms);
    // A recording changes what is possible in the same state.
    if (!before || before.state !== vm.state || before.recording !== vm.recording) this.refresh_actions();
  }

  show_copy(copy) {
    this.copy.hidden = !copy?.phase;
    if (this.copy.hidden) return;
    const left = copy.seconds_left == null ? "" : `, ${Math.ceil(copy.seconds_left)} s left`;
    const text = `a copy for a new backup: ${copy.phase}, ${mib(copy.bytes_done)} of ${mib(copy.bytes_of)}${left}`;
    this.copy.replaceChildren(element("label", {}, text, element("progress", { max: Math.max(copy.bytes_of, 1), value: Math.min(copy.bytes_done, copy.bytes_of) })));
  }

  async refresh_actions() {
    try {
      const { actions } = await ask(`/v1/vms/${encodeURIComponent(this.name)}/actions`);
      const console_action = actions.find((action) => action.name === "console");
      const shown = actions.filter(has_button);
      const had = document.activeElement?.dataset.action;
      this.actions.replaceChildren(...shown.map((action) => this.row(action)), this.console_row(console_action));
      if (had && this.element.contains(document.activeElement) === false) this.actions.querySelector(`[data-action="${had}"]`)?.focus();
    } catch (problem) {
      this.actions.replaceChildren(element("li", {}, problem.message));
    }
  }

  row(action) {
    const why = element("span", { id: `why-${this.name}-${action.name}` }, action.possible ? action.meaning : action.why_not);
    const button = element("button", { type: "button", disabled: !action.possible, "aria-describedby": why.id, onclick: () => this.carry_out(action.name) }, action.name);
    button.dataset.action = action.name;
    return element("li", {}, button, why);
  }

  console_row(action) {
    const why = element("span", { id: `why-${this.name}-console` }, action.possible ? "shows the serial console here; Ctrl-] leaves it" : action.why_not);
    this.console_button.disabled = !action.possible;
    this.console_button.setAttribute("aria-describedby", why.id);
    return element("li", {}, this.console_button, why);
  }

  async carry_out(action) {
    if (DRASTIC.includes(action) && !confirm(`${action} ${this.name}?`)) return;
    try {
      this.say((await ask(`/v1/vms/${encodeURIComponent(this.name)}/actions/${action}`, {})).done);
    } catch (problem) {
      this.say(problem.message);
    }
  }

  toggle_console() {
    if (this.console) {
      this.console.close();
      this.console = null;
      this.console_button.focus();
    } else {
      this.console = new Console(this.name, () => this.toggle_console());
      this.place.append(this.console.screen);
      this.console.screen.focus();
    }
    this.console_button.setAttribute("aria-expanded", String(Boolean(this.console)));
  }

  remove() {
    if (this.console) this.console.close();
    this.element.remove();
  }
}
