// SPDX-License-Identifier: Apache-2.0
// The API, as the page uses it.

/** The object in an answer; what is wrong is an Error with the sentence and the remedy. */
export async function ask(path, body) {
  const request = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, request);
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.remedy && !content.detail.includes(content.remedy) ? `${content.detail}: ${content.remedy}` : content.detail);
  return content;
}

/** Calls handlers[event](data) for each event, and link(true or false) as the stream comes and goes. */
export function listen(handlers, link) {
  const stream = new EventSource("/v1/events");
  stream.onopen = () => link(true);
  stream.onerror = () => {
    link(false);
    // A browser gives up where the server refuses; a host that comes back must be found again.
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => listen(handlers, link), 2000);
  };
  for (const [kind, handle] of Object.entries(handlers)) stream.addEventListener(kind, (event) => handle(JSON.parse(event.data)));
}

/** An element with properties, attributes (by setAttribute where there is no such property) and children. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}
