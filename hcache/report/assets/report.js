const dark = matchMedia('(prefers-color-scheme: dark)');
function colours() {
  const css = getComputedStyle(document.documentElement), get = (name) => css.getPropertyValue(name).trim();
  return {ink: get('--ink'), line: get('--line')};
}
function draw(chart) {
  const source = document.querySelector(`[data-chart="${chart.id}"]`), figure = JSON.parse(source.textContent);
  const {ink, line} = colours();
  figure.layout.font = {color: ink};
  const axes = Object.keys(figure.layout).filter((key) => /^[xy]axis/.test(key));
  for (const key of axes) Object.assign(figure.layout[key], {gridcolor: line, zerolinecolor: line, automargin: true});
  Plotly.react(chart, figure.data, figure.layout, {responsive: true, displaylogo: false});
}
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); draw(entry.target); }
});
document.querySelectorAll('.chart').forEach((chart) => seen.observe(chart));
dark.addEventListener('change', () => document.querySelectorAll('.chart.js-plotly-plot').forEach(draw));
function unfold() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === 'DETAILS') { target.open = true; target.scrollIntoView(); }
}
addEventListener('hashchange', unfold);
unfold();
addEventListener('beforeprint', () => {
  document.querySelectorAll('details').forEach((each) => each.open = true);
  document.querySelectorAll('.chart:not(.js-plotly-plot)').forEach(draw);
});
