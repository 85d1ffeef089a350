// What a server without any gateway says: what to do next.

export function NothingYet() {
  const config = `gateway: plant7
uplink: { url: "mqtt://${location.hostname}:1883" }
links:
  plc: { tcp: 10.0.0.5:502 }
devices:
  - name: main-meter
    profile: eastron-sdm630
    link: plc
    unit: 1
    every: 10s
  - name: this-box
    profile: linux-host
    every: 10s`;
  return (
    <main class="welcome">
      <Line />
      <h1>No gateway has reported yet</h1>
      <p>This server is running and waits for its first gateway. On the box beside your devices:</p>
      <ol>
        <li>
          <p>Write <code>/etc/pattoo/gateway.yaml</code>:</p>
          <pre>{config}</pre>
        </li>
        <li><p>Check it, without touching a device: <code>pattoo-gateway check</code></p></li>
        <li><p>Start it: <code>pattoo-gateway run</code></p></li>
      </ol>
      <p class="quiet">A server without a configuration listens on its own machine only. The gateway appears here by itself.</p>
    </main>
  );
}

/** A calm line, for places without data. */
export function Line() {
  return (
    <svg class="line" viewBox="0 0 240 64" width="240" height="64" aria-hidden="true">
      <path d="M0 52H240M0 32H240M0 12H240" class="grid" />
      <path d="M4 44C24 44 30 20 50 20s26 20 46 20 24-28 46-28 26 32 46 32 26-16 44-18" class="ink" />
    </svg>
  );
}
