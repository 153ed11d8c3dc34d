// Ways to make elements, and to change no more of them than has changed. All text goes in as text.
export const find = (id) => document.getElementById(id);

export function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== "") element.textContent = text;
  return element;
}

export function setText(element, text) {
  if (element.shown !== text) {
    element.shown = text;
    element.textContent = text;
  }
}

export function setTitle(element, text) {
  if (element.title !== text) element.title = text;
}

export function setClass(element, name) {
  if (element.className !== name) element.className = name;
}

// A bar behind a text; `share` of its width is filled, null: there is none.
export function makeBar() {
  const bar = make("span", "bar");
  const fill = make("i");
  const label = make("span");
  bar.append(fill, label);
  bar.fill = fill;
  bar.label = label;
  return bar;
}

export function setBar(bar, share, text) {
  setText(bar.label, text);
  const width = share == null ? 0 : Math.min(1, Math.max(0, share));
  if (bar.width !== width) {
    bar.width = width;
    bar.fill.style.transform = `scaleX(${width})`;
  }
  bar.classList.toggle("none", share == null);
}

// Headings that sort; `onSort(column)` is called with the index of the one that was chosen.
export function makeHeadings(row, columns, onSort) {
  return columns.map((column, index) => {
    const cell = make("th", column.class || "");
    cell.scope = "col";
    if (column.title) cell.title = column.title;
    if (onSort) {
      const button = make("button", "", column.name);
      button.type = "button";
      button.addEventListener("click", () => onSort(index));
      cell.append(button);
    } else {
      cell.textContent = column.name;
    }
    row.append(cell);
    return cell;
  });
}

// Puts `wanted` children into `parent` in this order, moving as few as a single pass can.
export function arrange(parent, wanted) {
  let at = parent.firstChild;
  for (const child of wanted) {
    if (child === at) at = at.nextSibling;
    else parent.insertBefore(child, at);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}
