const MARGIN = {left: 62, right: 14, top: 12, bottom: 46};
const NEAR = 12, STILL = 4, PICTURE = 96, BAR = 62;

/** What the server sent: a line of JSON, then the columns one after the other, each of four bytes a number. */
function unpack(data) {
  const bytes = new Uint8Array(data instanceof Uint8Array ? data : new Uint8Array(data));
  const end = bytes.indexOf(10), found = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
  const body = bytes.slice(end + 1).buffer, n = found.samples;
  const column = (type, at) => new type(body, 4 * n * at, n);
  found.x = column(Float32Array, 0);
  found.y = column(Float32Array, 1);
  found.value = column(Float32Array, 2);
  found.id = column(Int32Array, 3);
  found.colour = column(Uint32Array, 4);
  found.selected = column(Uint32Array, 5);
  found.points = new Float32Array(body, 4 * n * 6);
  return found;
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function build(root) {
  const canvas = element('canvas', {tabindex: 0, role: 'img'});
  const tip = element('div', {class: 'tip', hidden: ''}, element('div', {class: 'picture'}), element('span'));
  const tools = element('div', {class: 'tools'});
  root.replaceChildren(canvas, tools, tip);
  return {root, canvas, tip, tools, view: null, drag: null};
}

/** The ends of both axes that show all points, or that the server asked for. */
function whole(data) {
  if (data.window) return data.window.map((ends) => [...ends]);
  return [data.x, data.y].map((values) => {
    let low = Infinity, high = -Infinity;
    for (const v of values) if (Number.isFinite(v)) { if (v < low) low = v; if (v > high) high = v; }
    if (!(low <= high)) return [-1, 1];
    const margin = 0.06 * (high - low) || 1;
    return [low - margin, high + margin];
  });
}

/** Round numbers between two, some six of them. */
function ticks([low, high]) {
  const rough = (high - low) / 6, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= rough);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9)), found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++)
    found.push([k * step, (k * step).toFixed(digits).replace('-', '\u2212')]);
  return found;
}

class Chart {
  constructor(parts) {
    Object.assign(this, parts);
  }

  show(data, send) {
    this.data = data;
    this.send = send;
    if (this.kept !== data.view) { this.zoomed = null; this.kept = data.view; }
    this.ends = this.zoomed ?? whole(data);
    this.canvas.setAttribute('aria-label', data.alt);
    this.style = getComputedStyle(this.root);
    this.draw();
  }

  theme(name, otherwise) {
    return this.style.getPropertyValue(name).trim() || otherwise;
  }

  get box() {
    const right = MARGIN.right + (this.data.bar ? BAR : 0);
    return {x: MARGIN.left, y: MARGIN.top, width: Math.max(1, this.width - MARGIN.left - right),
            height: Math.max(1, this.height - MARGIN.top - MARGIN.bottom)};
  }

  /** Where a point is drawn, in pixels of the canvas. */
  place(x, y) {
    const box = this.box, [[left, right], [low, high]] = this.ends;
    return [box.x + (x - left) / (right - left) * box.width, box.y + (high - y) / (high - low) * box.height];
  }

  draw() {
    const ratio = devicePixelRatio || 1;
    this.width = this.root.clientWidth;
    this.height = this.root.clientHeight;
    if (!this.width) return;
    if (this.canvas.width !== Math.round(this.width * ratio) || this.canvas.height !== Math.round(this.height * ratio)) {
      this.canvas.width = Math.round(this.width * ratio);
      this.canvas.height = Math.round(this.height * ratio);
    }
    const pen = this.canvas.getContext('2d');
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    this.axes(pen);
    pen.save();
    const {x, y, width, height} = this.box;
    pen.beginPath();
    pen.rect(x, y, width, height);
    pen.clip();
    this.paths(pen);
    this.circles(pen);
    if (this.drag?.outline) this.outline(pen, this.drag.outline);
    pen.restore();
    if (this.data.bar) this.bar(pen);
  }

  axes(pen) {
    const {x, y, width, height} = this.box, [across, up] = this.data.axes;
    const text = this.theme('--st-text-color', '#31333f'), line = this.theme('--st-border-color', '#dddddd');
    pen.font = `12px ${this.theme('--st-font', 'sans-serif')}`;
    pen.fillStyle = text;
    pen.lineWidth = 1;
    const rule = (value, from, to) => {
      pen.strokeStyle = value === 0 ? text : line;
      pen.globalAlpha = value === 0 ? 0.45 : 0.8;
      pen.beginPath();
      pen.moveTo(...from);
      pen.lineTo(...to);
      pen.stroke();
      pen.globalAlpha = 1;
    };
    pen.textAlign = 'center';
    pen.textBaseline = 'top';
    for (const [value, written] of ticks(this.ends[0])) {
      const at = Math.round(this.place(value, 0)[0]) + 0.5;
      rule(value, [at, y], [at, y + height]);
      pen.fillText(written, at, y + height + 6);
    }
    pen.fillText(across, x + width / 2, y + height + 26);
    pen.textAlign = 'right';
    pen.textBaseline = 'middle';
    for (const [value, written] of ticks(this.ends[1])) {
      const at = Math.round(this.place(0, value)[1]) + 0.5;
      rule(value, [x, at], [x + width, at]);
      pen.fillText(written, x - 6, at);
    }
    pen.save();
    pen.translate(14, y + height / 2);
    pen.rotate(-Math.PI / 2);
    pen.textAlign = 'center';
    pen.fillText(up, 0, 0);
    pen.restore();
  }

  circles(pen) {
    const {data} = this, some = data.marked > 0;
    for (const turn of some ? [0, 1] : [0]) {  // what is selected lies on top
      pen.globalAlpha = some && !turn ? 0.45 : 1;
      for (let i = 0; i < data.samples; i++)
        if (!some || data.selected[i] === turn) {
          const [x, y] = this.place(data.x[i], data.y[i]);
          pen.fillStyle = '#' + data.colour[i].toString(16).padStart(6, '0');
          pen.beginPath();
          pen.arc(x, y, data.radius, 0, 7);
          pen.fill();
          pen.strokeStyle = 'rgba(127,127,127,.6)';
          pen.lineWidth = 0.5;
          pen.stroke();
        }
    }
    if (some && data.marked <= data.rings)
      for (let i = 0; i < data.samples; i++) if (data.selected[i]) this.ring(pen, i, 6, 2, data.ringed);
    if (data.chosen >= 0) this.ring(pen, data.chosen, 10, 3, data.chosenColour);
  }

  ring(pen, i, radius, width, colour) {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.beginPath();
    pen.arc(...this.place(this.data.x[i], this.data.y[i]), radius, 0, 7);
    pen.stroke();
  }

  paths(pen) {
    const {points, paths: [count, steps]} = this.data;
    pen.strokeStyle = this.data.ringed;
    pen.globalAlpha = 0.5;
    pen.lineWidth = 1;
    for (let path = 0; path < count; path++) {
      pen.beginPath();
      for (let k = 0; k < steps; k++) {
        const at = 2 * (path * steps + k);
        pen.lineTo(...this.place(points[at], points[at + 1]));
      }
      pen.stroke();
    }
    pen.globalAlpha = 1;
  }

  outline(pen, corners) {
    pen.strokeStyle = this.theme('--st-primary-color', '#0072b2');
    pen.fillStyle = pen.strokeStyle;
    pen.lineWidth = 1.5;
    pen.beginPath();
    for (const corner of corners) pen.lineTo(...corner);
    pen.closePath();
    pen.globalAlpha = 0.12;
    pen.fill();
    pen.globalAlpha = 1;
    pen.stroke();
  }

  bar(pen) {
    const {y, height} = this.box, x = this.width - BAR + 2, {colours, low, high, title} = this.data.bar;
    const shades = pen.createLinearGradient(0, y + height, 0, y + 18);
    colours.forEach((colour, k) => shades.addColorStop(k / (colours.length - 1), colour));
    pen.fillStyle = shades;
    pen.fillRect(x, y + 18, 12, height - 18);
    pen.fillStyle = this.theme('--st-text-color', '#31333f');
    pen.textAlign = 'right';
    pen.textBaseline = 'top';
    pen.fillText(title, this.width - 2, y);
    pen.textAlign = 'left';
    pen.textBaseline = 'middle';
    for (const [value, written] of ticks([low, high]))
      pen.fillText(written, x + 17, y + 18 + (high - value) / (high - low) * (height - 18));
  }

  /** The row of the point at a place, or -1; the one drawn last, if several are as near. */
  at([x, y], within = NEAR) {
    let best = -1, least = within ** 2;
    for (let i = 0; i < this.data.samples; i++) {
      const [px, py] = this.place(this.data.x[i], this.data.y[i]), far = (px - x) ** 2 + (py - y) ** 2;
      if (far <= least) { best = i; least = far; }
    }
    return best;
  }

  hover(mouse) {
    const row = this.drag ? -1 : this.at(this.where(mouse)), {tip, data} = this;
    tip.hidden = row < 0;
    if (row < 0) return;
    const [picture, text] = tip.children, sprite = window.hcacheSprites?.[data.sprite];
    const value = data.named ? ` · ${data.named} ${data.value[row].toFixed(2)}` : '';
    text.textContent = `sample ${data.id[row]}${value}`;
    picture.hidden = !sprite;
    if (sprite) {
      const tall = PICTURE * sprite.height / sprite.cell;
      Object.assign(picture.style, {
        width: PICTURE + 'px', height: tall + 'px', backgroundImage: `url(${sprite.url})`,
        backgroundSize: `${sprite.columns * PICTURE}px auto`,
        backgroundPosition: `${-(row % sprite.columns) * PICTURE}px ${-Math.floor(row / sprite.columns) * tall}px`});
    }
    const {width, height} = tip.getBoundingClientRect();
    const beside = (at, size, end) => at + 18 + size > end ? at - 18 - size : at + 18;
    tip.style.left = beside(mouse.clientX, width, innerWidth) + 'px';
    tip.style.top = beside(mouse.clientY, height, innerHeight) + 'px';
  }

  where(mouse) {
    const box = this.canvas.getBoundingClientRect();
    return [mouse.clientX - box.x, mouse.clientY - box.y];
  }

  move(across, up) {
    const {width, height} = this.box;
    const shift = ([low, high], by) => [low + by * (high - low), high + by * (high - low)];
    this.zoomed = [shift(this.ends[0], -across / width), shift(this.ends[1], up / height)];
    this.ends = this.zoomed;
    this.draw();
  }

  zoom(factor, at) {
    const {x, y, width, height} = this.box, shares = at ? [(at[0] - x) / width, 1 - (at[1] - y) / height] : [0.5, 0.5];
    this.zoomed = this.ends.map(([low, high], k) => {
      const still = low + shares[k] * (high - low);
      return [still + (low - still) * factor, still + (high - still) * factor];
    });
    this.ends = this.zoomed;
    this.draw();
  }

  reset() {
    this.zoomed = null;
    this.ends = whole(this.data);
    this.draw();
  }

  click(mouse) {
    const row = this.at(this.where(mouse));
    if (mouse.detail > 1) this.send('cleared', 'twice');
    else if (row >= 0 && this.data.marked === 1 && this.data.selected[row]) this.send('cleared', 'once');
    else if (row >= 0) this.send('picked', [this.data.id[row]]);
  }

  /** The numbers of the samples inside an outline. */
  inside(corners) {
    const found = [];
    for (let i = 0; i < this.data.samples; i++) {
      const [x, y] = this.place(this.data.x[i], this.data.y[i]);
      let within = false;
      corners.forEach(([ax, ay], k) => {
        const [bx, by] = corners[(k + 1) % corners.length];
        if (ay > y !== by > y && x < ax + (y - ay) / (by - ay) * (bx - ax)) within = !within;
      });
      if (within) found.push(this.data.id[i]);
    }
    return found;
  }

  press(mouse) {
    if (mouse.button) return;
    this.canvas.setPointerCapture(mouse.pointerId);
    const start = this.where(mouse);
    this.drag = {start, last: start, moved: false, outline: null};
    this.tip.hidden = true;
  }

  pull(mouse) {
    const {drag} = this;
    if (!drag) { this.hover(mouse); return; }
    const [x, y] = this.where(mouse), [fromX, fromY] = drag.start;
    drag.moved ||= Math.hypot(x - fromX, y - fromY) > STILL;
    if (!drag.moved) return;
    if (this.data.drag === 'pan') this.move(x - drag.last[0], y - drag.last[1]);
    else {
      drag.outline = this.data.drag === 'lasso' ? [...(drag.outline ?? [drag.start]), [x, y]]
        : [[fromX, fromY], [x, fromY], [x, y], [fromX, y]];
      this.draw();
    }
    drag.last = [x, y];
  }

  release() {
    const {drag} = this;
    this.drag = null;
    this.dragged = drag?.moved ?? false;
    if (!drag?.outline) return;
    const found = this.inside(drag.outline);
    this.draw();
    if (found.length) this.send('picked', found);
  }

  key(event) {
    const by = {ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40]}[event.key];
    if (by) this.move(...by);
    else if (event.key === '+' || event.key === '=') this.zoom(0.8);
    else if (event.key === '-') this.zoom(1.25);
    else if (event.key === '0') this.reset();
    else return;
    event.preventDefault();
  }

  /** The chart as a picture, on the page's own ground. */
  save() {
    const copy = element('canvas'), pen = copy.getContext('2d');
    [copy.width, copy.height] = [this.canvas.width, this.canvas.height];
    pen.fillStyle = this.theme('--st-background-color', 'white');
    pen.fillRect(0, 0, copy.width, copy.height);
    pen.drawImage(this.canvas, 0, 0);
    element('a', {href: copy.toDataURL('image/png'), download: this.data.file}).click();
  }
}

function listen(chart) {
  const {canvas, tools} = chart;
  canvas.onpointerdown = (mouse) => chart.press(mouse);
  canvas.onpointermove = (mouse) => chart.pull(mouse);
  canvas.onpointerup = () => chart.release();
  canvas.onpointercancel = () => { chart.drag = null; chart.draw(); };
  canvas.onpointerleave = () => { chart.tip.hidden = true; };
  canvas.onclick = (mouse) => { if (!chart.dragged) chart.click(mouse); };
  canvas.onkeydown = (event) => chart.key(event);
  canvas.addEventListener('wheel', (event) => {  // without Ctrl the wheel scrolls the page
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    chart.zoom(event.deltaY < 0 ? 0.8 : 1.25, chart.where(event));
  }, {passive: false});
  for (const [sign, name, act] of [
    ['+', 'Zoom in (+, or Ctrl and the wheel)', () => chart.zoom(0.8)], ['\u2212', 'Zoom out (-)', () => chart.zoom(1.25)],
    ['\u2302', 'All points (0)', () => chart.reset()], ['\u2913', 'Save as PNG', () => chart.save()]]) {
    const button = element('button', {type: 'button', title: name, 'aria-label': name}, sign);
    button.onclick = act;
    tools.append(button);
  }
}

export default function ({data, parentElement, setTriggerValue}) {
  const root = parentElement.querySelector('.scatter');
  if (!root.chart) {
    root.chart = new Chart(build(root));
    listen(root.chart);
  }
  const {chart} = root;
  chart.show(unpack(data), setTriggerValue);
  const legend = parentElement.querySelector('.legend'), {legend: title, classes} = chart.data;
  legend.replaceChildren(...classes.map(([name, colour]) => {
    const dot = element('i');
    dot.style.background = colour;
    return element('span', {}, dot, name);
  }));
  if (classes.length) legend.prepend(element('b', {}, title));
  const watch = new ResizeObserver(() => chart.draw());
  watch.observe(root);
  return () => { watch.disconnect(); chart.tip.hidden = true; };
}
