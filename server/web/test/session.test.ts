import assert from 'node:assert/strict';
import { test } from 'node:test';

import { secretOf } from '../src/session.ts';

test('only a whole secret in the address is one', () => {
  const secret = '0123456789abcdef'.repeat(4);
  assert.equal(secretOf(`#link=${secret}`), secret);
  for (const other of ['', '#', '#link=', `#link=${secret}0`, `#link=${secret.slice(1)}`, `#x&link=${secret}`, `#link=${secret.toUpperCase()}`]) {
    assert.equal(secretOf(other), null, other);
  }
});
