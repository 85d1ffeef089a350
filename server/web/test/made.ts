// What tests are made of.

import type { Series } from '../src/api.ts';

export const series = (id: number, kind: Series['kind'], states: Record<string, string> = {}, point = 'p'): Series => ({
  id, kind, states, point, name: point, gateway: 'g', device: 'd', unit: '', labels: {},
});
