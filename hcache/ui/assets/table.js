export default function ({data, parentElement, setTriggerValue}) {
  const table = parentElement.querySelector('.table');
  if (table.dataset.shown !== data.html) { table.innerHTML = data.html; table.dataset.shown = data.html; }
  table.onclick = (event) => {
    const cell = event.target.closest('[data-key]'), measure = event.target.closest('[data-measure]');
    if (cell) setTriggerValue('picked', cell.dataset.key);
    if (measure) setTriggerValue('asked', measure.dataset.measure);
  };
}
