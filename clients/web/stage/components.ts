/** The design system on one page: every value, element and component. `?theme=dark`, `?dir=rtl`. */
import { mount } from 'svelte';
import '~/views/shared/tokens.css';
import '~/views/shared/elements.css';
import { showTheme } from '~/views/shared/theme';
import { useWords } from '~/words/words.svelte';
import Components from './Components.svelte';

const asked = new URLSearchParams(location.search);
const target = document.getElementById('app');
showTheme(asked.get('theme') ?? '');
document.documentElement.dir = asked.get('dir') ?? 'ltr';
await Promise.all([useWords('shared'), useWords('start'), useWords('chat')]);
if (target) mount(Components, { target });
Object.assign(window, { staged: true });
