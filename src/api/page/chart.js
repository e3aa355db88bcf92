// SPDX-License-Identifier: Apache-2.0
// A line of the last values of one figure.

const SVG = "http://www.w3.org/2000/svg";
const KEPT = 120;

export class Chart {
  constructor(label) {
    this.values = [];
    this.label = label;
    this.element = document.createElementNS(SVG, "svg");
    this.element.setAttribute("class", "chart");
    this.element.setAttribute("viewBox", `0 0 ${KEPT - 1} 20`);
    this.element.setAttribute("preserveAspectRatio", "none");
    this.element.setAttribute("role", "img");
    this.line = document.createElementNS(SVG, "polyline");
    this.element.append(this.line);
  }

  add(value) {
    this.values = [...this.values, value].slice(-KEPT);
    const most = Math.max(...this.values, 1);
    const from = KEPT - this.values.length;
    this.line.setAttribute("points", this.values.map((one, i) => `${from + i},${19 - (one / most) * 18}`).join(" "));
    this.element.setAttribute("aria-label", `${this.label}: now ${value}, at most ${Math.max(...this.values)} of late`);
  }
}
