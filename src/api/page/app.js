// SPDX-License-Identifier: Apache-2.0
// The page of a host: its VMs live, the hosts that they have to do with, and what changed.

import { ask, element, listen } from "./api.js";
import { VmCard } from "./vm_card.js";

const SHOWN_CHANGES = 30;
const cards = new Map();
const at = (id) => document.getElementById(id);
const say = (sentence) => { at("said").textContent = sentence; };

function show_vm(vm) {
  if (!cards.has(vm.name)) {
    const card = new VmCard(vm.name, say);
    cards.set(vm.name, card);
    const next = [...cards.keys()].sort().find((name) => name > vm.name);
    at("vms").insertBefore(card.element, next ? cards.get(next).element : null);
  }
  cards.get(vm.name).show(vm);
  at("no-vms").hidden = true;
}

function remove_vm(name) {
  cards.get(name)?.remove();
  cards.delete(name);
  at("no-vms").hidden = cards.size > 0;
}

function show_change(change) {
  const when = new Date(change.time * 1000);
  const text = ` ${change.vm}: ${change.what} ${change.from ? `${change.from} → ` : ""}${change.to}${change.why ? ` (${change.why})` : ""}`;
  at("changes").prepend(element("li", {}, element("time", { dateTime: when.toISOString() }, when.toLocaleTimeString()), text));
  while (at("changes").children.length > SHOWN_CHANGES) at("changes").lastChild.remove();
}

async function show_hosts() {
  try {
    const { hosts } = await ask("/v1/hosts");
    at("hosts").replaceChildren(...hosts.map((host) => {
      const vms = host.vms.map((vm) => `${vm.name} (${vm.role})`).join(", ") || "no VM";
      const memory = host.here ? `, ${Math.round(host.memory_available_bytes / 1048576)} MiB free, ${host.processors} processors` : "";
      return element("li", {}, element("strong", {}, host.name), `${host.here ? " (this host)" : ""}: ${vms}${memory}${host.insecure ? ", INSECURE" : ""}`);
    }));
  } catch (problem) {
    say(problem.message);
  }
}

function show_state(state) {
  for (const name of [...cards.keys()]) if (!state.vms.some((vm) => vm.name === name)) remove_vm(name);
  state.vms.forEach(show_vm);
  at("no-vms").hidden = cards.size > 0;
  at("changes").replaceChildren();
  state.changes.forEach(show_change);
  show_hosts();
}

function show_link(is_there) {
  at("link").textContent = is_there ? "live" : "no answer; what is shown is old";
  at("link").className = is_there ? "good" : "bad";
}

ask("/v1/me").then((me) => {
  at("host").textContent = me.host;
  at("caller").textContent = `${me.name}, ${me.role}`;
  document.title = `Lockstep ${me.host}`;
}, (problem) => say(problem.message));
listen({ state: show_state, vm: show_vm, gone: (vm) => remove_vm(vm.name), change: (change) => { show_change(change); show_hosts(); } }, show_link);
setInterval(show_hosts, 10000);
