// The charts of a ramp: percentage, error rate and latency over one time axis.
'use strict';

const charts = new Map();
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function options(title, width, height, {limit, unit, stairs, last, key, value}) {
  const grid = {stroke: colour('--line'), width: 1};
  const axis = {stroke: colour('--soft'), font: '12px system-ui', grid, ticks: {show: false}};
  const path = stairs ? uPlot.paths.stepped({align: 1}) : undefined;
  const top = (high) => stairs ? 108 : Math.max((limit ?? 0) * 1.5, (high ?? 0) * 1.15, 1e-9);
  return {
    width, height,
    legend: {show: false},
    cursor: {sync: {key}, y: false, points: {size: 7}},
    padding: [6, 8, last ? 0 : 6, 0],
    scales: {y: {range: (_, low, high) => [0, top(high)]}},
    axes: [
      {...axis, show: last, grid: {show: false}, size: 30, space: 90, filter: whole, values: (u, at) => at.map(moments(u.scales.x))},
      {...axis, size: 62, splits: (u) => ticks(u.scales.y.max, stairs), values: (_, at) => at.map((v) => amount(v, unit))},
    ],
    series: [{}, {label: title, stroke: (u) => ink(u, limit), fill: stairs && colour('--accent-soft'), width: 2, paths: path, spanGaps: true, points: {show: false}}],
    hooks: {
      drawClear: [shade],
      draw: [(u) => limit && rule(u, limit, `limit ${amount(limit, unit)}`)],
      setCursor: [(u) => { value.textContent = pointed(u, unit); }],
    },
  };
}

const amount = (number, unit) => `${(+number.toPrecision(3)).toLocaleString()} ${unit}`;

// What the pointer is on: the figure and its time.
function pointed(u, unit) {
  const {idx} = u.cursor, figure = idx == null ? null : u.data[1][idx];
  return figure == null ? '' : `${amount(figure, unit)} at ${clock.format(u.data[0][idx] * 1000)}`;
}

// A line is red only where it is above its limit.
function ink(u, limit) {
  if (!limit) return colour('--accent');
  const {top, height} = u.bbox;
  const share = Math.min(Math.max((u.valToPos(limit, 'y', true) - top) / height, 0), 1);
  const gradient = u.ctx.createLinearGradient(0, top, 0, top + height);
  gradient.addColorStop(share, colour('--stop'));
  gradient.addColorStop(share, colour('--calm'));
  return gradient;
}

// The time that a feature was paused lies in shade.
function shade(u) {
  u.ctx.save();
  u.ctx.fillStyle = colour('--stop-soft');
  for (const [from, to] of u.pauses ?? []) {
    const left = u.valToPos(from, 'x', true), right = u.valToPos(to, 'x', true);
    u.ctx.fillRect(left, u.bbox.top, Math.max(right - left, 2), u.bbox.height);
  }
  u.ctx.restore();
}

// The stretches [from, to] in which it was paused.
function pauses({at, paused}) {
  const found = [];
  at.forEach((moment, i) => {
    if (paused[i] && !paused[i - 1]) found.push([moment, moment]);
    if (paused[i]) found[found.length - 1][1] = at[i + 1] ?? moment;
  });
  return found;
}

// A time that the edge would cut off is left out.
const whole = (u, splits) => splits.map((at) => Math.abs(u.valToPos(at, 'x') - u.over.clientWidth / 2) > u.over.clientWidth / 2 - 32 ? null : at);

// The times below the chart, in the reader's zone and no finer than needed.
function moments({min, max}) {
  const span = max - min;
  const style = span > 172800 ? {dateStyle: 'short'} : span > 900 ? {timeStyle: 'short'} : {timeStyle: 'medium'};
  const format = new Intl.DateTimeFormat(undefined, style);
  return (at) => at === null ? '' : format.format(at * 1000);
}

function ticks(top, stairs) {
  if (stairs) return [0, 50, 100];
  const raw = top / 2.4, size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * size).find((n) => n >= raw);
  return [0, step, 2 * step].filter((v) => v <= top);
}

function rule(u, limit, says) {
  const y = Math.round(u.valToPos(limit, 'y', true)), end = u.bbox.left + u.bbox.width;
  u.ctx.save();
  u.ctx.strokeStyle = u.ctx.fillStyle = colour('--soft');
  u.ctx.setLineDash([5, 5]);
  u.ctx.beginPath();
  u.ctx.moveTo(u.bbox.left, y);
  u.ctx.lineTo(end, y);
  u.ctx.stroke();
  u.ctx.font = `${11 * devicePixelRatio}px system-ui`;
  u.ctx.textAlign = 'right';
  u.ctx.textBaseline = 'bottom';
  u.ctx.fillText(says, end, y - 3 * devicePixelRatio);
  u.ctx.restore();
}

async function draw(figure) {
  if (typeof uPlot === 'undefined') return;
  const told = await read(figure.dataset.chart, (answer) => answer.ok ? answer.json() : null).catch(() => null);
  if (!told) return;
  const plots = find('.plots', figure);
  if (told.at.length < 2) { plots.replaceChildren(); charts.delete(figure); return; }
  const span = [told.at[0], told.at[told.at.length - 1]];
  const panels = [
    ['Users who are in', told.at, told.percent, {unit: '%', stairs: true}, 100],
    ['Error rate', told.at, told.errors, {limit: told.limits.error_rate * 100, unit: '%'}, 92],
    ['p95 latency', told.p95_at, told.p95_ms, {limit: told.limits.latency_p95_ms, unit: 'ms', last: true}, 116],
  ];
  const known = charts.get(figure), shaded = pauses(told);
  if (known && known.scheme === scheme()) {
    known.plots.forEach((plot, i) => { plot.pauses = shaded; plot.setData(framed(panels[i][1], panels[i][2], span)); });
    return;
  }
  plots.replaceChildren();
  const made = panels.map(([title, x, y, look, height]) => {
    const name = document.createElement('p'), value = document.createElement('span');
    name.className = 'plot-name';
    name.append(title, value);
    plots.append(name);
    const drawn = options(title, plots.clientWidth, height, {...look, value, key: figure.dataset.chart});
    return new uPlot(drawn, framed(x, y, span), (plot, ready) => { plot.pauses = shaded; plots.append(plot.root); ready(); });
  });
  charts.set(figure, {plots: made, scheme: scheme()});
  sized.observe(plots);
}

// All panels span the same time, whatever each one knows.
function framed(x, y, [first, last]) {
  const inside = x.map((at, i) => [at, y[i]]).filter(([at]) => at >= first && at <= last);
  const begun = inside.length && inside[0][0] === first ? [] : [[first, null]];
  const ended = inside.length && inside[inside.length - 1][0] === last ? [] : [[last, null]];
  const points = [...begun, ...inside, ...ended];
  return [points.map(([at]) => at), points.map(([, value]) => value)];
}

const scheme = () => matchMedia('(prefers-color-scheme: dark)').matches;
const sized = new ResizeObserver((entries) => {
  for (const {target} of entries) {
    const known = charts.get(target.closest('.chart'));
    known?.plots.forEach((plot) => plot.setSize({width: target.clientWidth, height: plot.height}));
  }
});
