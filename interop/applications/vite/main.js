import { value } from './value.js';

window.value = value;
import.meta.hot.accept('./value.js', (changed) => { window.value = changed.value; });
