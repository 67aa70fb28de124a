function draw(button, picture, data, marked) {
  const [image, caption] = button.children;
  if (image.src !== picture.uri) image.src = picture.uri;
  if (caption.textContent !== picture.caption) caption.textContent = picture.caption;
  image.alt = 'sample ' + picture.id;
  button.dataset.id = picture.id;
  button.setAttribute('aria-pressed', String(data.selecting ? marked : picture.id === data.chosen));
  button.classList.toggle('chosen', picture.id === data.chosen);
  button.classList.toggle('marked', marked);
}

function make() {
  const button = document.createElement('button');
  button.type = 'button';
  button.tabIndex = -1;
  button.append(document.createElement('img'), document.createElement('small'));
  return button;
}

function focus(grid, at) {
  const button = grid.children[Math.min(Math.max(at, 0), grid.children.length - 1)];
  for (const other of grid.children) other.tabIndex = other === button ? 0 : -1;
  button.focus();
}

function walk(grid, event) {
  const at = [...grid.children].indexOf(event.target.closest('button'));
  const columns = getComputedStyle(grid).gridTemplateColumns.split(' ').length;
  const by = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns,
              Home: -at, End: grid.children.length - 1 - at}[event.key];
  if (at < 0 || by === undefined) return;
  event.preventDefault();
  if (at + by >= 0 && at + by < grid.children.length) focus(grid, at + by);
}

export default function ({data, parentElement, setTriggerValue}) {
  let grid = parentElement.querySelector('.grid');
  if (!grid) { grid = document.createElement('div'); grid.className = 'grid'; parentElement.appendChild(grid); }
  grid.style.setProperty('--size', data.size + 'px');
  const waiting = (grid.waiting ?? []).filter((click) => click.number > data.seen);
  grid.waiting = waiting;
  grid.last = Math.max(grid.last ?? 0, data.seen);
  const marked = new Set(data.marked);
  for (const click of waiting) flip(marked, click);
  while (grid.children.length < data.pictures.length) grid.append(make());
  while (grid.children.length > data.pictures.length) grid.lastChild.remove();
  data.pictures.forEach((picture, at) => {
    const button = grid.children[at];
    draw(button, picture, data, marked.has(picture.id));
    button.onclick = (event) => {
      if (!data.selecting) { setTriggerValue('picked', picture.id); return; }
      const from = data.pictures.findIndex((other) => other.id === grid.anchor);
      const range = event.shiftKey && from >= 0, ends = range ? [Math.min(from, at), Math.max(from, at)] : [at, at];
      const ids = data.pictures.slice(ends[0], ends[1] + 1).map((other) => other.id);
      const click = {number: ++grid.last, id: picture.id, ids, range};
      grid.anchor = picture.id;
      waiting.push(click);
      flip(marked, click);
      const now = {...data, chosen: picture.id};
      data.pictures.forEach((other, k) => draw(grid.children[k], other, now, marked.has(other.id)));
      setTriggerValue('clicks', [...waiting]);
    };
  });
  if (grid.children.length && ![...grid.children].some((button) => button.tabIndex === 0)) grid.firstChild.tabIndex = 0;
  grid.onkeydown = (event) => walk(grid, event);
}

function flip(marked, click) {
  for (const id of click.ids) if (click.range || !marked.has(id)) marked.add(id); else marked.delete(id);
}
