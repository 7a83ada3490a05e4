// Elements of the page. Texts from elsewhere are set as text only: markup in the name of an item stays text.

export const byId = (id) => document.getElementById(id);

// Sets a text, unless it is there already: screen readers and selections notice each change.
export const setText = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

export const show = (element, isShown) => { element.hidden = !isShown; };

// An element with a text and children.
export const make = (name, { className = "", text } = {}, ...children) => {
  const element = document.createElement(name);
  if (className !== "") element.className = className;
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
};

const numbers = new Intl.NumberFormat();

export const count = (number) => numbers.format(number);

export const pieces = (number) => `${count(number)} ${number === 1 ? "piece" : "pieces"}`;

// Tells screen readers something that is worth an interruption.
export const announce = (text) => { byId("announcer").textContent = text; };
