// Gateways, their devices, and the points of those with their latest value.

import { useContext, useEffect, useMemo, useState } from 'preact/hooks';

import { MAX_LATEST, type Device, type Gateway, type Latest, type Series } from './api.ts';
import { counted, reading } from './format.ts';
import { Go } from './link.tsx';
import { LookOf } from './look.ts';
import { Quality } from './quality.tsx';
import { stamp } from './time.ts';
import { toDevice, toggled, type View } from './view.ts';

/** So many points are shown without a click. */
const OPEN_POINTS = 80;

interface Props {
  gateways: Gateway[];
  devices: Device[];
  series: Series[];
  total: number;
  loaded: boolean;
  search: string;
  latest: Map<number, Latest>;
  view: View;
  setView: (view: View) => void;
  onShown: (ids: number[]) => void;
}

const keyOf = (gateway: string, device: string) => `${gateway}/${device}`;

export function List(props: Props) {
  const { gateways, devices, series, search } = props;
  const [turned, setTurned] = useState(new Map<string, boolean>());
  const points = useMemo(() => {
    const points = new Map<string, Series[]>();
    for (const s of series) {
      const key = keyOf(s.gateway, s.device);
      points.set(key, [...(points.get(key) ?? []), s]);
    }
    return points;
  }, [series]);

  const first = devices[0];
  const isOpen = (key: string) =>
    turned.get(search + key) ??
    (series.length <= OPEN_POINTS ||
      (points.get(key) ?? []).some((s) => props.view.series.includes(s.id)) ||
      (!search && first !== undefined && key === keyOf(first.gateway, first.name)));
  const shown = [...points].flatMap(([key, list]) => (isOpen(key) ? list.map((s) => s.id) : [])).slice(0, MAX_LATEST - props.view.series.length);
  useEffect(() => props.onShown(shown), [shown.join()]);

  if (!props.loaded) return <p class="quiet pad">Loading…</p>;
  if (series.length === 0) {
    return search ? <p class="quiet pad">Nothing matches “{search}”.</p> : <p class="quiet pad">A gateway is there, but has sent no points yet.</p>;
  }
  return (
    <>
      {props.total > series.length && (
        <p class="quiet pad">The first {series.length.toLocaleString()} of {counted(props.total, 'point')}. Search to find the others.</p>
      )}
      {gateways.map((gateway) => {
        const mine = devices.filter((d) => d.gateway === gateway.name && points.has(keyOf(d.gateway, d.name)));
        if (mine.length === 0 && search) return null;
        return (
          <section key={gateway.name} class="gateway">
            <GatewayHead gateway={gateway} />
            {mine.length === 0 && <p class="quiet pad">It has sent no points yet.</p>}
            {mine.map((device) => {
              const key = keyOf(device.gateway, device.name);
              const turn = () => setTurned((old) => new Map(old).set(search + key, !isOpen(key)));
              return (
                <DeviceRows key={key} device={device} points={points.get(key) ?? []} open={isOpen(key)} onTurn={turn} all={props} />
              );
            })}
          </section>
        );
      })}
    </>
  );
}

function GatewayHead({ gateway }: { gateway: Gateway }) {
  return (
    <div class="gateway-head" data-gateway={gateway.name}>
      <h2>{gateway.name}</h2>
      <span class={`pill ${gateway.online ? 'on' : 'off'}`}>{gateway.online ? '● online' : '○ offline'}</span>
    </div>
  );
}

interface DeviceProps {
  device: Device;
  points: Series[];
  open: boolean;
  onTurn: () => void;
  all: Props;
}

function DeviceRows({ device, points, open, onTurn, all }: DeviceProps) {
  const labels = Object.entries(device.labels).map(([k, v]) => `${k}=${v}`).join(', ');
  return (
    <div class="device" data-device={device.name}>
      <button type="button" class="device-head" aria-expanded={open} onClick={onTurn}>
        <i class="arrow" aria-hidden="true" />
        <span class="name">{device.name}</span>
        <span class="profile" title={labels}>{device.profile_name}</span>
        {device.health && <Quality quality={device.health.quality} reason={device.health.reason} word />}
        <span class="number">{points.length}</span>
      </button>
      {open && (
        <ul>
          <li class="whole"><Go view={toDevice(all.view, device.gateway, device.name)} setView={all.setView} >All charts of {device.name}</Go></li>
          {points.map((s) => (
            <PointRow key={s.id} series={s} latest={all.latest.get(s.id)} place={all.view.series.indexOf(s.id)} onToggle={() => all.setView(toggled(all.view, s.id))} />
          ))}
        </ul>
      )}
    </div>
  );
}

interface PointProps {
  series: Series;
  latest: Latest | undefined;
  place: number;
  onToggle: () => void;
}

function PointRow({ series, latest, place, onToggle }: PointProps) {
  const { zone } = useContext(LookOf);
  const value = reading(series, latest);
  const when = latest?.t ? ` at ${stamp(latest.t, zone)}` : '';
  const title = latest?.text ? `${latest.text} ${series.unit}${when}` : when.trim();
  return (
    <li>
      <button type="button" class="point" data-series={series.id} aria-pressed={place >= 0} onClick={onToggle} title={title}>
        <i class={place >= 0 ? `swatch s${place % 8}` : 'swatch'} aria-hidden="true" />
        <span class="name">{series.name}</span>
        {latest?.quality && latest.quality !== 'good' && <Quality quality={latest.quality} reason={latest.reason} word />}
        {!(latest?.quality === 'bad') && (
          <span class="value" data-t={latest?.t ?? ''}>
            {value.text}
            {value.symbol && <small> {value.symbol}</small>}
          </span>
        )}
      </button>
    </li>
  );
}
