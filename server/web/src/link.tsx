// A link to another view: a click stays in the page, and the address can be copied or opened in a new tab.

import type { ComponentChildren } from 'preact';

import { writeView, type View } from './view.ts';

interface Props {
  view: View;
  setView: (view: View) => void;
  children: ComponentChildren;
  current?: boolean;
  class?: string;
  label?: string;
}

export function Go(props: Props) {
  const onClick = (event: MouseEvent) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    props.setView(props.view);
    scrollTo(0, 0);
  };
  return (
    <a href={writeView(props.view)} class={props.class} aria-current={props.current ? 'page' : undefined} aria-label={props.label} onClick={onClick}>{props.children}</a>
  );
}
