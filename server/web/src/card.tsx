// One chart with everything about its window that a line alone would hide: numbers, losses, doubts; as a drawing or a table.

import type { ComponentChildren } from 'preact';
import { useContext, useMemo, useRef, useState } from 'preact/hooks';

import { exported, type Latest, type Series } from './api.ts';
import { Chart } from './chart.tsx';
import { asDrawn, fromCounted, type Counted } from './counters.ts';
import { csv } from './csv.ts';
import { counted, duration, scaled } from './format.ts';
import { Legend } from './legend.tsx';
import { LookOf, useSize } from './look.ts';
import { isBuckets, type Answer } from './merge.ts';
import { Notes } from './notes.tsx';
import { at, fromBuckets, fromRaw, together, type Plot } from './plot.ts';
import { download } from './save.ts';
import { Table } from './table.tsx';
import { stamp, zoneName } from './time.ts';
import { scaleFor } from './units.ts';
import { COUNTERS, fixed, isLive, widened, type CounterMode, type View } from './view.ts';
import { feed } from './feed.ts';
import { useCounted, useWindow } from './window.ts';

interface Props {
  title: string;
  /** Ids in the order of their colours. */
  ids: number[];
  series: Map<number, Series>;
  latest: Map<number, Latest>;
  view: View;
  setView: (view: View) => void;
  /** Whether what is known of the series is known already. */
  known: boolean;
  height: number;
  level: 1 | 2;
  /** One of many: what all of them would say is said elsewhere. */
  brief?: boolean;
  /** How counters are drawn where the reader did not choose. */
  counter?: CounterMode;
  onRemove?: (id: number) => void;
  tools?: ComponentChildren;
}

const NARROW = 560;

export function Card(props: Props) {
  const { ids, series, view, setView, known } = props;
  const { zone } = useContext(LookOf);
  const [box, width, near] = useSize();
  const [hovered, setHovered] = useState<number | null>(null);
  const [focus, setFocus] = useState<number | null>(null);
  const [alone, setAlone] = useState<number | null>(null);
  const [spoken, setSpoken] = useState('');
  const [unsaved, setUnsaved] = useState(false);
  const card = useRef<HTMLElement>(null);
  const charted = ids.filter((id) => series.has(id) && series.get(id)?.kind !== 'text');
  const mode = view.counter ?? props.counter ?? 'rate';
  const counters = charted.filter((id) => series.get(id)?.kind === 'counter');
  const counting = mode === 'total' ? [] : counters;
  const measured = charted.filter((id) => !counting.includes(id));
  const pixels = near && width ? Math.max(100, Math.min(4000, Math.round(width * devicePixelRatio))) : 0;
  const window = useWindow(measured, view.span, pixels);
  const counted = useCounted(counting, view.span, pixels, mode, zoneName(zone));
  const error = window.error ?? counted.error;
  const answers = [...(measured.length ? [window.answer] : []), ...(counting.length ? [counted.answer] : [])].filter((answer) => answer !== null);
  const whole = charted.length > 0 && answers.length === Number(measured.length > 0) + Number(counting.length > 0);
  const drawn = useMemo(() => asDrawn(series, mode), [series, mode]);
  const plot = useMemo(() => (whole ? together(answers.map((answer) => toPlot(answer, series)), ids) : null), [window.answer, counted.answer, series, whole]);
  const entries = ids.map((id) => drawn.get(id)).filter((s) => s !== undefined);
  const single = alone !== null && ids.includes(alone) ? alone : null;
  const shown = plot && single !== null ? { ...plot, traces: plot.traces.filter((t) => t.id === single) } : plot;
  const height = width < NARROW ? Math.min(260, props.height) : props.height;

  const speak = () => {
    // After the cursor has moved, and once for many steps.
    requestAnimationFrame(() => setHovered((index) => {
      if (plot && index !== null) setSpoken(words(plot, index, drawn, stamp(plot.x[index] ?? 0, zone)));
      return index;
    }));
  };
  const saveCsv = () => download(`${props.title}.csv`, new Blob([csv(answers, series, zone)], { type: 'text/csv' }));
  // Loaded when it is wanted, which few do.
  const savePng = async () => {
    const { picture } = await import('./picture.ts');
    const canvas = card.current?.querySelector<HTMLCanvasElement>('.plot canvas');
    if (!canvas || !plot) return;
    const lines = [`${stamp(plot.from, zone)} – ${stamp(plot.to, zone)} ${zoneName(zone)}`, scaleLine(plot, width)];
    download(`${props.title}.png`, await picture(canvas, card.current as HTMLElement, props.title, lines, entries, ids));
  };
  const Heading = props.level === 1 ? 'h1' : 'h2';
  const reason = error ?? (charted.length || !known ? 'Loading…' : entries.length ? 'A text has no chart; its value is below.' : 'Nothing to draw.');
  return (
    <section class="card chart" ref={card} aria-label={props.title}>
      <div class="card-head">
        <Heading>{props.title}</Heading>
        <div class="tools">
          {counters.length > 0 && <CounterChoice mode={mode} choose={(counter) => setView({ ...view, counter })} />}
          {props.tools}
          <button type="button" onClick={saveCsv} disabled={!plot} title="What is shown, as a file of numbers">CSV</button>
          {entries.length > 0 && <a href={exported(entries.map((s) => s.id), view.span.from, view.span.to, zoneName(zone))} download={`${props.title}.csv`} title="Every reading of this window with all its digits, however many there are">Raw CSV</a>}
          {!view.table && <button type="button" onClick={() => savePng().then(() => setUnsaved(false), () => setUnsaved(true))} disabled={!plot} title="The chart as a picture">PNG</button>}
        </div>
      </div>
      {unsaved && <p class="banner" role="alert">The picture could not be made. Load the page again.</p>}
      <div ref={box} class="canvas" style={{ minHeight: `${height}px` }}>
        {shown && width > 0 && view.table && <Table title={props.title} plot={shown} series={drawn} />}
        {shown && width > 0 && !view.table && (
          <Chart
            plot={shown} series={entries} order={ids} width={width} height={height} focus={focus} onHover={setHovered} onKey={speak}
            onZoom={(from, to) => setView({ ...view, span: fixed(from, to) })}
            onWiden={() => setView({ ...view, span: widened(view.span, feed.now()) })}
          />
        )}
        {!shown && <p class="quiet waiting" style={{ minHeight: `${height}px` }}>{reason}</p>}
      </div>
      <p class="sr" aria-live="polite">{spoken}</p>
      {plot && <p class="scale">{scaleLine(plot, width)}{counting.length > 0 && ` · ${COUNTED[mode]}`}</p>}
      {error && plot && <p class="banner" role="alert">{error}</p>}
      <Legend {...{ ids, series: drawn, counting, plot, hovered, known, alone: single, latest: props.latest, live: isLive(view.span) }} onFocus={setFocus} onAlone={setAlone} onRemove={props.onRemove} />
      {plot && <Notes plot={plot} series={series} brief={props.brief ?? false} level={props.level} />}
    </section>
  );
}

const toPlot = (answer: Answer | Counted, series: Map<number, Series>): Plot => {
  if ('rates' in answer || 'consumption' in answer) return fromCounted(answer, series);
  return isBuckets(answer) ? fromBuckets(answer, series) : fromRaw(answer);
};

const COUNTED: Record<CounterMode, string> = {
  rate: 'counters as rates', total: 'counters as they stood', hour: 'consumption per hour', day: 'consumption per day', month: 'consumption per month',
};
const CHOICES: Record<CounterMode, string> = { rate: 'Rate', total: 'Reading', hour: 'Per hour', day: 'Per day', month: 'Per month' };

function CounterChoice({ mode, choose }: { mode: CounterMode; choose: (mode: CounterMode) => void }) {
  return (
    <select class="choice" aria-label="Counters as" value={mode} onChange={(e) => choose(e.currentTarget.value as CounterMode)}>
      {COUNTERS.map((one) => <option key={one} value={one}>{CHOICES[one]}</option>)}
    </select>
  );
}

/** What is on screen, so that nobody takes a drawing for more than it is. */
function scaleLine(plot: Plot, width: number): string {
  const px = `1 px = ${duration((plot.to - plot.from) / Math.max(1, width))}`;
  const readings = counted(plot.traces.reduce((n, t) => n + t.count + t.bad, 0), 'sample');
  if (plot.traces.every((t) => t.bars)) return `${px}, whole periods; an outline alone is one that is not known whole`;
  if (plot.step === null) return `${px}, ${readings}, each drawn as it is`;
  const band = plot.traces.some((t) => t.band) ? ', average on a band from minimum to maximum' : '';
  return `${px}, ${readings} in steps of ${duration(plot.step)}${band}`;
}

/** The values at an index of x, for who cannot see them. */
function words(plot: Plot, index: number, series: Map<number, Series>, time: string): string {
  const values = plot.traces.map((trace) => {
    const s = series.get(trace.id);
    const value = at(trace, index);
    return `${s?.name ?? ''} ${value === null ? 'nothing' : scaled(value, scaleFor(s?.unit ?? '', value))}`;
  });
  return `${time}: ${values.join(', ')}`;
}
