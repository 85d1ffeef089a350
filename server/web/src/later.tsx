// A part of the page that is loaded when it is first wanted, so that the others need not wait for it.

import type { ComponentType } from 'preact';
import { useEffect, useState } from 'preact/hooks';

export function later<P extends object>(load: () => Promise<ComponentType<P>>): ComponentType<P> {
  let loaded: ComponentType<P> | null = null;
  return function Later(props: P) {
    const [Part, setPart] = useState<ComponentType<P> | null>(() => loaded);
    const [failed, setFailed] = useState(false);
    useEffect(() => {
      if (loaded) return;
      load().then(
        (found) => {
          loaded = found;
          setPart(() => found);
        },
        () => setFailed(true),
      );
    }, []);
    if (Part) return <Part {...props} />;
    if (!failed) return <p class="quiet pad">Loading…</p>;
    // After an upgrade of the server its parts have other names.
    return (
      <main class="page"><p class="banner" role="alert">This part of the page could not be loaded. <button type="button" class="more" onClick={() => location.reload()}>Load the page again</button></p></main>
    );
  };
}
