// Creates elements from values, and patches the page without replacing what has not changed, so
// that unfolded, focused and selected elements stay so. Values become text nodes and attribute
// values, never markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An HTML element. Attributes that are null or false, and children that are null, false or empty,
 * are left out; children may be nested arrays.
 */
export function el(name, attributes = {}, ...children) {
  return build(document.createElement(name), attributes, children);
}

/** The same for an SVG element. */
export function svg(name, attributes = {}, ...children) {
  return build(document.createElementNS(SVG, name), attributes, children);
}

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter(isSomething));
  return node;
}

function isSomething(child) {
  return child !== null && child !== undefined && child !== false && child !== "";
}

/** Make the children of `parent` look like `children`, changing as little as possible. */
export function update(parent, ...children) {
  const fresh = children.flat(Infinity).filter(isSomething);
  patchChildren(parent, fresh.map((child) => (
    child instanceof Node ? child : document.createTextNode(String(child))
  )));
}

function patch(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    // The reader opens and closes <details>.
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  patchChildren(old, [...fresh.childNodes]);
}

function patchChildren(parent, fresh) {
  const keyed = new Map();
  for (const child of parent.children) {
    if (child.dataset.key) keyed.set(child.dataset.key, child);
  }
  let cursor = parent.firstChild;
  for (const node of fresh) {
    const key = node.dataset?.key;
    const match = key ? keyed.get(key) : cursor;
    if (match && match.nodeName === node.nodeName && (key || !match.dataset?.key)) {
      if (match === cursor) cursor = cursor.nextSibling;
      else parent.insertBefore(match, cursor);
      patch(match, node);
    } else {
      parent.insertBefore(node, cursor);
    }
  }
  while (cursor) {
    const next = cursor.nextSibling;
    cursor.remove();
    cursor = next;
  }
}
