// The page of a channel: the viewer, signing in (XEP-0070), uploads and changes. It works on the elements that the
// server renders, writes users' texts as text only, and keeps tickets in variables alone.
const $ = id => document.getElementById(id);
const test = name => document.querySelector(`[data-testid=${name}]`);
const make = (name, properties) => Object.assign(document.createElement(name), properties);
const body = document.body, viewer = $('viewer'), path = location.pathname;
// Without TLS there is no cookie: a ticket in memory reads, and pictures are objects of the page.
const isPrivate = 'private' in body.dataset, cookies = 'cookie' in body.dataset, objects = isPrivate && 'objects' in body.dataset;
// A ticket that came in the address reads, too. It must not stay in the browser's history.
const here = new URL(location), given = here.searchParams.get('ticket');
here.searchParams.delete('ticket');
if (given) history.replaceState(null, '', here);
let jid = '', reader = given && { ticket: given }, writer = null, own = new Set(), at = -1, busy = false, stop = null;

const items = () => [...document.querySelectorAll('[data-testid=item]')];
const name = item => item.querySelector('b')?.textContent || item.dataset.name || item.querySelector('img')?.alt || item.querySelector('em')?.textContent;
const time = text => new Date(text).toLocaleString([], { dateStyle: 'long', timeStyle: 'short' });
const size = bytes => {
  let unit = 0, number = bytes;
  for (; number >= 1024 && unit < 4; unit++) number /= 1024;
  return `${number.toLocaleString([], { maximumFractionDigits: 1 })} ${[bytes === 1 ? 'byte' : 'bytes', 'KiB', 'MiB', 'GiB', 'TiB'][unit]}`;
};

// An open dialog hides the rest of the page, so the notes go into it.
const note = (which, text) => {
  (viewer.open ? viewer.querySelector('.text') : document.querySelector('main')).prepend($('notes'));
  test(which === 'error' ? 'status' : 'error').textContent = '';
  test(which).textContent = text;
};
const tell = text => note('status', text), fail = text => note('error', text);

// What a refusal means for people.
class Refused extends Error {
  constructor(status) { super(); this.status = status; }
}
const words = status => ({
  0: 'the connection was lost. Check your network, then try again.',
  400: 'the server can’t use this file or text.',
  401: 'your sign-in has ended. Sign in again.',
  403: 'it was not confirmed in time, or you are not allowed to do this.',
  404: 'it no longer exists.',
  412: 'it has changed. Reload the page.',
  413: 'it is larger than this server accepts.',
  415: 'the server does not accept this type of file.',
  422: 'the server can’t keep a character of this text, such as an emoji.',
  429: 'too many requests wait for your reply. Reply to the media server in your XMPP client, or try again later.',
  507: 'there is not enough space. Delete other files, then try again.',
})[status] || 'the server has a problem. Try again later.';
const explain = (what, error) => error.name === 'AbortError' ? `${what}: cancelled.` : `${what}: ${words(error.status || 0)}`;

const request = async (url, options = {}) => {
  const headers = { 'X-Requested-With': 'page', ...options.headers };
  const response = await fetch(url, { ...options, headers, cache: 'no-store' });
  if (!response.ok) throw new Refused(response.status);
  return response;
};
const reading = accept => ({ headers: { ...(accept && { Accept: accept }), ...(objects && reader && { Authorization: `Bearer ${reader.ticket}` }) } });

// Asks the user for a ticket, who compares the code of the page with that of the XMPP client.
const ticket = async (scope, why) => {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  const sign = (byte, alphabet) => alphabet[byte % alphabet.length];
  const code = [...bytes].map((byte, number) => (number === 4 ? '-' : '') + sign(byte, number < 4 ? 'ABCDEFGHKLMNPRSTUVWXYZ' : '23456789')).join('');
  const ask = $('ask'), waiting = new AbortController();
  $('why').textContent = why;
  test('code').textContent = code;
  ask.onclose = () => waiting.abort();
  ask.showModal();
  try {
    const credentials = btoa(String.fromCharCode(...new TextEncoder().encode(`${jid}:${code}`)));
    const cookie = scope === 'read' && cookies ? '?cookie=1' : '';
    const response = await request(`${path}/ticket/${scope}${cookie}`, { method: 'POST', headers: { Authorization: `Basic ${credentials}` }, signal: waiting.signal });
    return await response.json();
  } finally {
    ask.onclose = null;
    ask.close();
  }
};
// The ticket that writes, asked for when it is needed first.
const writing = async () => {
  if (!writer || Date.parse(writer.expires) < Date.now() + 20000) {
    writer = null;
    writer = await ticket('post', 'To add or change files, confirm once more.');
  }
  return `Bearer ${writer.ticket}`;
};
const change = async (url, options) => {
  try {
    return await request(url, { ...options, headers: { Authorization: await writing() } });
  } catch (error) {
    if (error.status === 401) writer = null;
    throw error;
  }
};

// Takes the list of another page, or of this one anew, from the server's HTML.
const load = async (url, append) => {
  const html = new DOMParser().parseFromString(await (await request(url, reading('text/html'))).text(), 'text/html');
  const list = html.querySelector('[data-testid=gallery]');
  if (!list) throw new Refused(401);
  if (objects) for (const image of list.querySelectorAll('img')) {
    image.dataset.src = image.getAttribute('src');
    image.removeAttribute('src');
  }
  const main = document.querySelector('main');
  if (append) {
    test('gallery').append(...list.children);
    main.querySelector('nav').replaceWith(html.querySelector('nav'));
  } else {
    for (const old of main.querySelectorAll('.card, [data-testid=gallery], nav')) old.remove();
    main.append(...html.querySelectorAll('main > .card, main > [data-testid=gallery], main > nav'));
  }
  prepare();
  if (jid) await claim(url);
};
// Gives a media element the file, where need be as an object of the page.
const show = async (element, url) => {
  if (!objects) return void (element.src = url);
  element.removeAttribute('data-src');
  try {
    element.src = URL.createObjectURL(await (await request(url, reading())).blob());
  } catch {
    element.dispatchEvent(new Event('error'));
  }
};
// Which files are the user's own; only the list in JSON says so.
const claim = async url => {
  const list = await (await request(url, reading('application/json'))).json();
  const mine = jid.split('/')[0].toLowerCase();
  for (const media of list) if (media.author.toLowerCase() === mine) own.add(media.id);
};

const prepare = () => {
  for (const image of document.querySelectorAll('li img')) {
    const { width, height } = image.attributes, item = image.closest('li');
    const source = image.dataset.src || image.getAttribute('src');
    if (width && height) item.style.setProperty('--r', Math.min(3.2, Math.max(.4, width.value / height.value || 1)));
    // A server that is busy makes the preview later.
    let tries = 0;
    image.onerror = () => {
      if (tries++ < 4) setTimeout(show, 500 << tries, image, source);
      else image.replaceWith(make('i', { textContent: item.dataset.type.split('/')[0] }), make('em', { textContent: image.alt }));
    };
    if (image.dataset.src) show(image, source);
    else if (image.complete && !image.naturalWidth) image.onerror();
  }
};

// The viewer.
const open = number => {
  const item = items()[number];
  if (!item) return;
  at = number;
  const { type, size: bytes, date, id } = item.dataset, link = item.querySelector('a'), url = link.getAttribute('href');
  const kind = type.split('/')[0], stage = $('stage'), unshown = () => stage.replaceChildren(make('p', { textContent: 'Your browser can’t show this file. You can download it.' }));
  let media;
  if (kind === 'image' && item.querySelector('img')) {
    media = make('img', { alt: name(item) });
  } else if (kind === 'video' || kind === 'audio') {
    media = make(kind, { controls: true, preload: 'metadata' });
    if (kind === 'video' && item.querySelector('img')?.src) media.poster = item.querySelector('img').src;
  }
  stop?.();
  stop = () => media?.pause?.();
  if (media) {
    media.onerror = unshown;
    stage.replaceChildren(media);
    show(media, /heic|heif|tiff/.test(type) ? `${url}?maxwidth=1600` : url);
  } else unshown();
  $('name').textContent = name(item);
  $('about').textContent = link.title;
  $('facts').textContent = [item.querySelector('b') && item.dataset.name, time(date), size(+bytes)].filter(Boolean).join(' · ');
  $('place').textContent = `${number + 1} / ${items().length}`;
  $('save').href = url;
  $('save').download = item.dataset.name || '';
  $('back').hidden = number === 0;
  $('on').hidden = number + 1 === items().length;
  $('edit').hidden = $('sure').hidden = true;
  $('change').hidden = $('delete').hidden = !own.has(id);
  if (!viewer.open) viewer.showModal();
  const next = items()[number + 1]?.querySelector('img');
  if (next && !objects && +items()[number + 1].dataset.size < 3e6) new Image().src = next.closest('a').href;
};
const turn = by => items()[at + by] && open(at + by);
const address = () => items()[at].querySelector('a').getAttribute('href');

document.addEventListener('click', event => {
  const link = event.target.closest('a');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const item = link.closest('[data-testid=item]');
  if (item) {
    event.preventDefault();
    open(items().indexOf(item));
  } else if (link.rel === 'next' && jid) {
    event.preventDefault();
    load(link.getAttribute('href'), true).catch(error => fail(explain('More files', error)));
  } else if (link.id === 'save' && objects) {
    event.preventDefault();
    const copy = make('a', { download: link.download });
    request(link.href, reading()).then(async response => {
      copy.href = URL.createObjectURL(await response.blob());
      copy.click();
    }, error => fail(explain(link.download, error)));
  }
});
viewer.addEventListener('keydown', event => {
  if (event.target.closest('input, textarea, video, audio') || event.altKey || event.ctrlKey || event.metaKey) return;
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by) {
    event.preventDefault();
    turn(by);
  }
});
viewer.addEventListener('close', () => {
  stop?.();
  $('stage').replaceChildren();
  tell('');
});
let from = null;
$('stage').addEventListener('pointerdown', event => {
  from = event.isPrimary && event.pointerType !== 'mouse' && !event.target.closest('video, audio') ? event : null;
});
$('stage').addEventListener('pointerup', event => {
  if (!from) return;
  const x = event.clientX - from.clientX, y = event.clientY - from.clientY;
  if (Math.abs(x) > 40 && Math.abs(x) > 2 * Math.abs(y)) turn(x < 0 ? 1 : -1);
});
$('back').onclick = () => turn(-1);
$('on').onclick = () => turn(1);
$('close').onclick = () => viewer.close();
$('share').onclick = async () => {
  const link = new URL(address(), location).href;
  try {
    await navigator.clipboard.writeText(link);
    tell('The link was copied.');
  } catch {
    prompt('The link to this file:', link);
  }
};
// The server counts bytes, while browsers count UTF-16 units for maxlength.
const fit = field => {
  const over = new TextEncoder().encode(field.value).length > field.maxLength;
  field.setCustomValidity(over ? 'This text is too long. Shorten it.' : '');
};
$('edit').oninput = event => fit(event.target);
$('change').onclick = () => {
  $('title').value = items()[at].querySelector('b')?.textContent || '';
  $('description').value = $('about').textContent;
  for (const field of [$('title'), $('description')]) fit(field);
  $('edit').hidden = false;
  $('title').focus();
};
$('cancel').onclick = () => open(at);
$('edit').onsubmit = async event => {
  event.preventDefault();
  const id = items()[at].dataset.id, what = name(items()[at]);
  try {
    const form = new URLSearchParams({ title: $('title').value, description: $('description').value });
    await change(address(), { method: 'POST', body: form });
    await load('', false);
    open(Math.max(0, items().findIndex(item => item.dataset.id === id)));
    tell('Saved.');
  } catch (error) {
    fail(explain(what, error));
  }
};
$('delete').onclick = () => {
  $('sure').hidden = false;
  $('gone').focus();
};
$('keep').onclick = () => open(at);
$('gone').onclick = async () => {
  const what = name(items()[at]);
  try {
    await change(address(), { method: 'DELETE' });
    viewer.close();
    await load('', false);
    tell(`${what} was deleted.`);
  } catch (error) {
    fail(explain(what, error));
  }
};

// Uploads: one file after the other, so that the bar tells what has left this machine.
const send = (file, authorization, progress) => new Promise((done, refuse) => {
  const upload = new XMLHttpRequest(), form = new FormData();
  form.append('data', file, file.name);
  upload.open('POST', path);
  upload.setRequestHeader('Authorization', authorization);
  upload.setRequestHeader('X-Requested-With', 'page');
  upload.upload.onprogress = event => progress(Math.min(event.loaded, file.size));
  upload.onload = () => upload.status === 201 ? done() : refuse(new Refused(upload.status));
  upload.onerror = () => refuse(new Refused(0));
  upload.onabort = () => refuse(new DOMException('', 'AbortError'));
  $('stop').onclick = () => upload.abort();
  upload.send(form);
});
const add = async files => {
  if (busy || !files.length) return;
  busy = true;
  const total = files.reduce((sum, file) => sum + file.size, 0) || 1, failures = [], bar = test('progress');
  let before = 0, added = 0;
  tell('');
  try {
    for (const [number, file] of files.entries()) {
      const authorization = await writing();
      $('uploads').hidden = false;
      const progress = loaded => {
        bar.value = (before + loaded) / total;
        const share = bar.value.toLocaleString([], { style: 'percent' });
        $('sending').textContent = loaded < file.size ? `Sending ${file.name} (${number + 1} of ${files.length}), ${share}` : `${file.name} has arrived; the server checks it…`;
      };
      progress(0);
      try {
        await send(file, authorization, progress);
        added += 1;
      } catch (error) {
        if (error.name === 'AbortError') throw error;
        if (error.status === 401) writer = null;
        failures.push(explain(file.name, error));
      }
      before += file.size;
    }
  } catch (error) {
    failures.push(explain('Adding files', error));
  }
  $('uploads').hidden = true;
  busy = false;
  if (added) await load(path, false).catch(() => {});
  if (failures.length) fail(failures.join('\n'));
  else tell(added === 1 ? `${files[0].name} was added.` : `${added} files were added.`);
};
test('file').onchange = event => {
  add([...event.target.files]);
  event.target.value = '';
};
const hasFiles = event => jid && event.dataTransfer?.types.includes('Files');
for (const type of ['dragover', 'dragleave', 'drop']) addEventListener(type, event => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  body.classList.toggle('drop', type === 'dragover');
  if (type === 'drop') add([...event.dataTransfer.files]);
});
addEventListener('beforeunload', event => busy && event.preventDefault());

// Signing in. The JID alone is kept, until the browser's tab is closed.
const signedIn = () => {
  sessionStorage.setItem('jid', jid);
  $('door').hidden = true;
  $('member').hidden = false;
  $('who').textContent = jid;
};
$('door').onsubmit = async event => {
  event.preventDefault();
  jid = test('jid').value.trim();
  try {
    reader = await ticket('read', isPrivate ? 'Then you can see the files of this channel.' : 'Then you can add files to this channel.');
    await load('', false);
    signedIn();
    tell('You are signed in.');
    test('file').focus();
  } catch (error) {
    const who = jid;
    jid = '';
    fail(explain(`Signing in as ${who}`, error));
  }
};

prepare();
$('door').hidden = !cookies && !('objects' in body.dataset);
// The pictures of the server's HTML can't be read without the ticket.
if (given && objects && test('gallery')) load('', false).catch(error => fail(explain('Files', error)));
const known = sessionStorage.getItem('jid');
if (known && !objects && test('gallery')) {
  jid = known;
  claim('').then(signedIn, () => { jid = ''; });
}
