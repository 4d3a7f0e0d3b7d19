// Makes elements of SVG. Attributes and text are set as such: nothing is parsed as markup.

export function svg(name, attributes = {}, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

/** An image for screen readers, described by one sentence. */
export function picture(container, width, height, label) {
  const image = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  container.replaceChildren(image);
  return image;
}
