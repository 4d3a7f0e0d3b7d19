// Numbers as text, and text in elements.

export const milliseconds = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en")} ms`;

export function plural(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

export function median(values) {
  const sorted = values.filter((value) => value !== null).sort((a, b) => a - b);
  return sorted.length === 0 ? null : sorted[Math.floor(sorted.length / 2)];
}

/** Changes a text only if it is another, which leaves selections and screen readers alone. */
export function put(element, text) {
  const shown = String(text);
  if (element.textContent !== shown) element.textContent = shown;
}
