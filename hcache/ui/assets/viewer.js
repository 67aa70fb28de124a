const zoom = {scale: 1, x: 0, y: 0};

function element(tag, name, ...children) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...children);
  return made;
}

function picture(source) {
  const image = element('img');
  image.src = source.uri;
  image.alt = source.title;
  image.draggable = false;
  return image;
}

function legend(data) {
  const bar = element('div', 'bar'), ends = element('div', 'ends');
  bar.style.background = `linear-gradient(to right, ${data.colours.join(',')})`;
  for (const text of data.ends) ends.append(element('span', '', text));
  return [bar, ends];
}

function place(root) {
  const limit = (v) => Math.min(0, Math.max(v, 1 - zoom.scale));
  [zoom.x, zoom.y] = [limit(zoom.x), limit(zoom.y)];
  for (const image of root.querySelectorAll('img'))
    image.style.transform = `translate(${100 * zoom.x}%, ${100 * zoom.y}%) scale(${zoom.scale})`;
}

function zoomBy(root, factor, at = [0.5, 0.5]) {
  const scale = Math.min(16, Math.max(1, zoom.scale * factor)), ratio = scale / zoom.scale;
  zoom.x = at[0] - (at[0] - zoom.x) * ratio;
  zoom.y = at[1] - (at[1] - zoom.y) * ratio;
  zoom.scale = scale;
  place(root);
}

function handle(root, frame) {
  frame.addEventListener('wheel', (event) => {
    event.preventDefault();
    const box = frame.getBoundingClientRect();
    zoomBy(root, event.deltaY < 0 ? 1.25 : 0.8,
           [(event.clientX - box.x) / box.width, (event.clientY - box.y) / box.height]);
  }, {passive: false});
  frame.onpointerdown = (event) => frame.setPointerCapture(event.pointerId);
  frame.onpointermove = (event) => {
    if (!event.buttons) return;
    const box = frame.getBoundingClientRect();
    zoom.x += event.movementX / box.width;
    zoom.y += event.movementY / box.height;
    place(root);
  };
}

function turns(frame, data) {
  const keys = element('div', 'keys'), names = ['Stop', 'A', 'B'], buttons = {};
  const show = (what) => {
    frame.classList.toggle('paused', what !== 'Go');
    if (what === 'A' || what === 'B') frame.style.setProperty('--second', what === 'A' ? 'hidden' : 'visible');
    for (const name of ['A', 'B']) buttons[name].setAttribute('aria-pressed', String(name === what));
    buttons.Stop.textContent = what === 'Go' ? 'Stop' : 'Go on';
  };
  for (const name of names) {
    buttons[name] = element('button', '', name);
    buttons[name].type = 'button';
    buttons[name].onclick = () => show(name !== 'Stop' ? name : frame.classList.contains('paused') ? 'Go' : 'A');
    keys.append(buttons[name]);
  }
  show(matchMedia('(prefers-reduced-motion: reduce)').matches ? 'A' : 'Go');
  frame.style.setProperty('--period', 2 / data.rate + 's');
  return {keys, press: (name) => buttons[name].click()};
}

export default function ({data, parentElement}) {
  const host = parentElement.querySelector('.host');
  const root = element('div', 'viewer');
  root.tabIndex = 0;
  root.setAttribute('role', 'group');
  root.setAttribute('aria-label', data.label);
  root.style.setProperty('--pane', data.pane + 'px');
  let turning = null;
  const panes = data.blink ? [data.pictures] : data.pictures.map((one) => [one]);
  for (const sources of panes) {
    const frame = element('div', 'frame', ...sources.map(picture));
    const caption = element('figcaption', '', sources.map((s) => s.title).join('  ⇄  '));
    const figure = element('figure', '', frame, caption);
    if (sources[0].legend) caption.append(...legend(data.legend));
    if (data.blink) { frame.classList.add('blink'); turning = turns(frame, data); figure.append(turning.keys); }
    handle(root, frame);
    root.append(figure);
  }
  root.onkeydown = (event) => {
    if (event.target !== root && event.key === ' ') return;
    const moves = {ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1]};
    const key = event.key.length === 1 ? event.key.toUpperCase() : event.key;
    if (key === '+' || key === '=') zoomBy(root, 1.25);
    else if (key === '-') zoomBy(root, 0.8);
    else if (key === '0') { Object.assign(zoom, {scale: 1, x: 0, y: 0}); place(root); }
    else if (moves[key]) { zoom.x += moves[key][0]; zoom.y += moves[key][1]; place(root); }
    else if (turning && (key === 'A' || key === 'B' || key === ' ')) turning.press(key === ' ' ? 'Stop' : key);
    else return;
    event.preventDefault();
  };
  host.replaceChildren(root);
  place(root);
}
