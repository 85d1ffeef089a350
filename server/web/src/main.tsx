import 'uplot/dist/uPlot.min.css';
import './style.css';

import { render } from 'preact';

import { App } from './app.tsx';
import { Gate } from './gate.tsx';

const page = document.getElementById('page');
if (page) render(<Gate><App /></Gate>, page);
