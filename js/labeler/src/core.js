// The labeler around a surface: keys, panels, progress, status. A kind of task brings the surface, everything else is here.
import {codeKey, h, kbd, keyName, keyOf, same, text} from './dom.js'
import {grid} from './grid.js'
import {panels} from './panels.js'
import {review} from './review.js'
import {Session} from './session.js'
import css from './style.css'

const sessions = new WeakMap()                         // each call is handed another proxy of the model, but all of them give the same `spec`
function sessionOf(model) {
  const k = model.get('spec')
  if (!sessions.has(k)) sessions.set(k, new Session(model))
  return sessions.get(k)
}

export function labeler(surfaces) {                   // kind of task -> surface; the widget that anywidget asks for
  return {
    initialize({model}) { const s = sessionOf(model); return () => { s.close(); sessions.delete(s.spec) } },
    render({model, el}) { const v = new View(sessionOf(model), el, surfaces); return () => v.destroy() },
  }
}

class View {
  constructor(session, el, surfaces) {
    this.s = session
    const {spec} = session
    this.task = spec.task
    this.keys = Object.fromEntries(Object.entries(this.task.keys).map(([c, k]) => [k, c]))
    this.actions = Object.fromEntries(Object.entries(spec.actions).map(([a, k]) => [k, a]))
    this.build(el)
    this.panels = panels(this)
    const api = {
      commit: (value, item) => this.commit(value, item), changed: () => this.changed(), announce: t => this.say(t),
      pickClass: name => this.pick(name), spec, session, focus: () => this.root.focus(), item: () => this.s.item(),
    }
    const make = surfaces[this.task.kind]
    this.mode = spec.grid ? grid({el: this.stage, task: this.task, api, view: this})
      : spec.review ? review({el: this.stage, task: this.task, api, view: this, make}) : make({el: this.stage, task: this.task, api})
    this.off = session.on((what, data) => this.update(what, data))
    if (session.snap !== null) this.update('item')
    this.update('progress'); this.update('status'); this.offer()
  }
  destroy() { this.off(); this.mode.destroy(); this.root.remove() }

  // ---- what is on the page
  build(el) {
    const {spec} = this.s, stop = ev => ev.stopPropagation()
    this.title = h('span', {class: 'pnl-title'}, this.task.name)
    this.what = spec.filters.length > 1 ? this.button('filter', '', 'pnl-filter') : h('span', {class: 'pnl-small'}, h('span'))
    this.count = h('span', {class: 'pnl-count'})
    this.speed = h('span', {class: 'pnl-speed'})
    this.steps = h('span', {class: 'pnl-steps'}, [['previous', '‹'], ['next', '›']].map(([a, t]) => h('button', {type: 'button', class: 'pnl-tool', 'data-action': a, 'aria-label': `${a} item`,
      'aria-keyshortcuts': spec.actions[a], title: `${a} item`, onclick: () => this.walk(a === 'next' ? 1 : -1)}, h('span', {}, t))))
    this.strays = h('div', {class: 'pnl-offer', role: 'alert', hidden: true})
    this.bar = h('div', {class: 'pnl-bar', role: 'progressbar', 'aria-label': 'labeled', 'aria-valuemin': 0}, h('i'))
    this.stage = h('div', {class: 'pnl-stage'})
    this.notice = h('div', {class: 'pnl-notice', hidden: true})
    this.meta = h('div', {class: 'pnl-meta'})
    this.chips = h('div', {class: 'pnl-chips', role: 'group', 'aria-label': 'classes'}, this.task.classes.slice(0, 60).map(c => this.chip(c)))
    if (this.task.classes.length > 60) this.chips.append(this.button('find', `${this.task.classes.length - 60} more classes`))
    this.status = h('div', {class: 'pnl-status'}, h('i', {class: 'pnl-dot'}), this.words = h('span'))
    this.live = h('div', {class: 'pnl-live', 'aria-live': 'polite', role: 'status'})
    const tools = [['undo', 'Undo'], ['skip', 'Skip'], ['note', 'Note'], spec.guide && ['guide', 'Guide'], ['help', 'Keys']].filter(Boolean)
    this.tools = h('div', {class: 'pnl-tools', role: 'toolbar', 'aria-label': 'actions'}, tools.map(([a, t]) => this.button(a, t)),
      (this.task.kind !== 'class' || spec.grid > 0) && (this.go = this.button('accept', 'Done', 'pnl-go')))
    this.panel = h('div', {class: 'pnl-panel', role: 'dialog', hidden: true})
    this.root = h('div', {class: `pnl pnl-${this.task.kind} ${spec.grid ? 'pnl-gridmode' : ''} ${spec.review ? 'pnl-reviewmode' : ''}`, tabindex: 0, role: 'application',
      'aria-label': `labeler for ${this.task.name}; press question mark for the keys`, 'data-lm-suppress-shortcuts': 'true'},
    h('style', {}, css),
    h('header', {class: 'pnl-head'}, this.title, this.what, h('span', {class: 'pnl-space'}), h('span', {class: 'pnl-small pnl-hint'}, 'click here to use the keys'), this.count, this.speed, this.steps), this.bar, this.strays,
    h('div', {class: 'pnl-body'}, this.stage, this.notice), this.panel, this.meta, this.chips,
    h('footer', {class: 'pnl-foot'}, this.status, this.tools), this.live)
    this.root.addEventListener('keydown', ev => this.onkey(ev))
    for (const t of ['keyup', 'keypress']) this.root.addEventListener(t, stop)
    for (const t of ['keydown', 'pointerdown']) this.root.addEventListener(t, () => { this.s.touched = Date.now() }, true)
    this.root.addEventListener('focusin', ev => { if (!this.root.contains(ev.relatedTarget) && document.hasFocus() && this.s.snap !== null && !this.s.queue.size) this.s.sync() })
    this.root.addEventListener('mousedown', ev => {   // a click on a button leaves the keys to the labeler
      if (ev.target.closest('button') && !this.panel.contains(ev.target)) { ev.preventDefault(); this.root.focus({preventScroll: true}) }
    })
    el.append(this.root)
  }
  button(action, label, cls = '') {
    const key = this.s.spec.actions[action]
    return h('button', {type: 'button', class: `pnl-tool ${cls}`, 'data-action': action, 'aria-keyshortcuts': key, title: `${action} (${keyName(key)})`,
      onclick: () => this.act(action)}, h('span', {}, label), kbd(key))
  }
  chip(c) {
    const k = this.task.keys[c], key = this.s.spec.review && this.task.kind !== 'class' && k >= '1' && k <= '9' ? null : k   // there, numbers choose answers
    return h('button', {type: 'button', class: 'pnl-chip', 'data-class': c, 'aria-pressed': 'false', 'aria-keyshortcuts': key,
      style: {'--c': this.task.colors[c]}, onclick: () => this.pick(c)}, h('span', {dir: 'auto'}, c), key && kbd(key))
  }
  say(t) { this.live.textContent = ''; this.live.textContent = t }
  pressed(list, proposed = []) {
    for (const b of this.chips.querySelectorAll('.pnl-chip')) {
      const on = list.includes(b.dataset.class)
      b.setAttribute('aria-pressed', on)
      b.classList.toggle('pnl-proposed', on && proposed.includes(b.dataset.class))
    }
  }
  last() {                                            // the undo button says what it takes back
    const e = this.s.stack[this.s.stack.length - 1]?.evs
    const t = !e ? '' : e.length > 1 ? `${e.length} labels` : e[0].kind === 'skip' ? 'skip' : this.saying(e[0].value), cut = [...t]
    text(this.tools.firstChild.firstChild, t ? `Undo ${cut.length > 32 ? cut.slice(0, 31).join('') + '…' : t}` : 'Undo')
  }
  offer() {                                           // labels to an earlier version of the task, which are not stored
    const {s} = this, {strays} = s.queue, all = [...strays.keys()], since = s.offered?.since ?? new Set()
    this.strays.hidden = !all.length || !s.offered || !!this.later
    if (this.strays.hidden) return this.strays.replaceChildren()
    const fresh = all.filter(u => !since.has(u)), old = all.filter(u => since.has(u)), n = (k, one) => k === 1 ? `1 ${one}` : `${k} ${one}s`
    const button = (t, f) => h('button', {type: 'button', class: 'pnl-tool pnl-boxed', onclick: f}, h('span', {}, t))
    const lose = list => { const b = button('Discard', () => { if (b.dataset.sure) return s.settle(list, false); b.dataset.sure = true; text(b.firstChild, `Discard ${n(list.length, 'answer')} for good`) }); return b }
    const part = (list, words, act, ...more) => list.length > 0 && [h('div', {dir: 'auto'}, words), h('div', {class: 'pnl-row'}, button(act, () => s.settle(list, true)), lose(list), more)]
    const wait = button('Later', () => { this.later = true; this.offer(); this.state() })
    this.strays.replaceChildren(...[
      part(fresh, `${n(fresh.length, 'answer')} of yours to an earlier version of “${this.task.name}” ${fresh.length === 1 ? 'is' : 'are'} kept in this browser and not stored.`, 'Store, as answers to that version', wait),
      part(old, `${n(old.length, 'answer')} to an earlier version ${old.length === 1 ? 'is' : 'are'} not stored, and you have answered again since. Storing replaces the newer answer.`, 'Store all the same', !fresh.length && wait)].flat().filter(Boolean))
  }

  // ---- keep up with the session
  update(what, data) {
    if (what === 'item' || what === 'items' && (this.waiting || this.s.spec.grid)) this.show()
    else if (what === 'mine') this.mode.mine ? this.mode.mine() : this.reshow()
    if (what === 'feedback' || what === 'item') this.feedback()
    if (what === 'say') this.say(data), this.toast(data)
    if (what === 'failed' && !this.s.item()) this.message(data)
    if (what === 'strays') this.offer()
    if (what === 'progress' || what === 'item') this.progress()
    this.state()
  }
  show() {
    const {s} = this, item = s.item()
    this.notice.hidden = true
    this.waiting = !item && !(this.mode.empty && s.end === 0)
    if (!item) {
      this.mode.hide ? this.mode.hide() : this.stage.replaceChildren()
      this.meta.replaceChildren()
      this.pressed([])
      this.waiting = !s.atEnd()
      return s.atEnd() ? this.finished() : this.message(s.snap === null || !s.queue.size ? 'one moment …' : 'The next items come when the kernel is free. Your labels are kept.')
    }
    if (this.mode.page) return this.mode.page()
    const mine = s.mine(item), draft = this.begun(item)
    this.said = mine
    this.mode.show(item, draft ?? mine?.value ?? null, {proposal: mine || draft ? null : item.proposal ?? null, base: mine && !mine.skip ? mine.value : item.proposal ?? null, readonly: false})
    this.marks(item, mine)
  }
  begun(item) {                                       // what was begun on an item and not stored, as far as this version of the task knows its classes
    if (this.task.kind === 'class' || this.s.spec.review) return null
    const d = this.s.queue.draft(item.id)
    return Array.isArray(d) ? d.filter(v => this.task.classes.includes(v?.label ?? v)) : null
  }
  forgetDraft() {
    const item = this.s.item()
    if (item) { this.s.queue.draft(item.id, null); this.show(); this.state(); this.say('what was not stored is gone') }
  }
  reshow() {                                          // the label of the item in view came from elsewhere (an undo, another tab)
    const item = this.s.item()
    if (item && !same(this.s.mine(item), this.said) && !this.mode.dirty()) this.show()
    else if (item) this.marks(item, this.s.mine(item))
  }
  marks(item, mine) {
    const p = mine || item.proposal === undefined || item.proposal === null ? null : item.proposal
    const active = this.mode.active?.() ?? []
    this.pressed(active, p === null || this.unstored() ? [] : active)
    const one = (cls, t) => h('span', {class: `pnl-tag ${cls}`, dir: 'auto'}, t)
    this.meta.replaceChildren(...[h('span', {class: 'pnl-place'}, `#${item.pos + 1}`), h('span', {class: `pnl-id ${item.name ? 'pnl-named' : ''}`, title: item.id}, h('bdi', {}, item.name ?? item.id.slice(0, 12))),
      p !== null && one('pnl-model', `${item.model ? `model ${item.model}` : 'a model'}: ${this.saying(p)}${item.score == null ? '' : ` · ${Math.round(item.score * 100)} %`}`),
      p !== null && !this.go && h('button', {type: 'button', class: 'pnl-tag pnl-accept', onclick: () => this.act('accept')}, 'accept ', kbd(this.s.spec.actions.accept)),
      mine?.skip && one('pnl-skipped', 'skipped'), mine && !mine.skip && one('pnl-mine', `${this.s.spec.review ? 'decided' : 'labeled'}: ${this.saying(mine.value)}`),
      item.note && one('pnl-note', `note: ${item.note}`), ...(item.others ?? []).map(t => one('pnl-note', t))].filter(Boolean))
  }
  saying(v) {
    if (typeof v === 'string') return v
    if (!Array.isArray(v)) return String(v)
    if (!v.length) return 'none'
    if (typeof v[0] === 'string') return v.join(', ')
    const n = {}
    for (const s of v) n[s.label] = (n[s.label] ?? 0) + 1
    return Object.entries(n).map(([c, k]) => `${k} ${c}`).join(', ')
  }
  message(t, ...more) { this.notice.replaceChildren(h('p', {}, t), ...more); this.notice.hidden = false }
  finished() {
    const {s} = this, open = h('button', {type: 'button', class: 'pnl-tool', onclick: () => s.reopen()}, h('span', {}, 'Look again'))
    const words = {unlabeled: 'Nothing is left to label here.', mine: 'You have labeled nothing yet.', disagreed: 'No two annotators disagree.',
      uncertain: 'There are no proposals of a model.', skipped: 'You have skipped nothing.', noted: 'Nothing has a note.', class: 'Nothing has this class.',
      annotator: 'This annotator has labeled nothing here.', shared: 'No item is free for you now; others may hold some.', qualify: 'The round is over.',
      review: 'Nothing is left to review.'}
    this.message(s.end === 0 || ['unlabeled', 'shared', 'qualify', 'review'].includes(s.filter) ? words[s.filter] ?? 'There are no items.' : 'This is the end.',
      h('div', {class: 'pnl-row'}, open, this.button('undo', 'Undo'), s.spec.filters.length > 1 && this.button('filter', 'Show others')))
    this.say(this.notice.textContent)
  }
  feedback() {
    const f = this.s.feedback
    this.fb?.remove(); this.fb = null
    if (!f) return
    const judged = f.right !== undefined
    this.fb = h('div', {class: `pnl-feedback ${judged ? f.right ? 'pnl-right' : 'pnl-wrong' : ''}`, role: 'status'},
      h('b', {}, !judged ? 'checking …' : f.right ? '✓ Right' : '✗ Not quite'),
      judged && !f.right && h('span', {dir: 'auto'}, `expected: ${this.saying(f.expected)}, you said: ${this.saying(f.value)}`),
      h('button', {type: 'button', class: 'pnl-tool', onclick: () => this.next()}, h('span', {}, 'Next'), kbd('Enter')))
    this.stage.after(this.fb)
    if (judged) this.say(f.right ? 'right' : `wrong, expected ${this.saying(f.expected)}`)
  }
  progress() {
    const {s} = this, n = s.n, done = Math.max(0, Math.min(s.done, n)), v = s.speed()
    const skipped = s.skipped > 0 ? ` · ${s.skipped.toLocaleString('en')} skipped` : ''
    text(this.count, (s.spec.shared ? `${s.done.toLocaleString('en')} labeled` : `${done.toLocaleString('en')} of ${n.toLocaleString('en')}`) + skipped)
    const min = v && Math.max(0, n - done - Math.max(0, s.skipped)) / v, left = !min ? '' : min < 1 ? ' · under a minute left' : min < 90 ? ` · ${Math.round(min)} min left` : min < 2880 ? ` · ${Math.round(min / 60)} h left` : ''
    text(this.speed, v ? `${Math.round(v)} a minute${s.spec.shared ? '' : left}` : '')
    this.last()
    this.bar.firstChild.style.width = `${n ? 100 * done / n : 0}%`
    this.bar.setAttribute('aria-valuemax', n); this.bar.setAttribute('aria-valuenow', done)
    text(this.what.firstChild, s.of ? `${s.filter}: ${s.of}`.slice(0, 60) : s.filter)
  }
  lead(begun) {                                          // what the button at the end does now
    const {s} = this, item = s.item()
    if (!this.go) return
    const t = s.feedback ? 'Next' : this.mode.lead?.() ?? (!item ? 'Done' : s.spec.review ? 'Decide' : begun ? 'Done' : s.mine(item) && !s.mine(item).skip ? 'Next'
      : (item.proposal ?? null) !== null ? 'Accept' : this.mode.value()?.length ? 'Done' : 'Nothing here')
    text(this.go.firstChild, t)
    this.go.disabled = !item
    this.go.title = {Done: 'store this answer', Next: 'go on: this is stored', Accept: 'store what is proposed', Decide: 'store this decision', 'Nothing here': 'store that there is none'}[t] ?? t
  }
  state() {
    const {s} = this, n = s.queue.size, begun = this.unstored(), kept = s.queue.kept ? 'kept in this browser' : 'kept only while this page is open'
    const [kind, t] = s.link === 'lost' ? ['lost', n ? `disconnected · ${n} unsaved, ${kept}: run the cell again` : 'disconnected: run the cell again']
      : s.error ? ['failed', `${s.error.unknown ? 'not known whether it is stored, it is sent again' : 'not stored'}: ${s.error.text} · ${n} ${kept}`]
      : n ? ['waiting', `${n} waiting${Date.now() - (s.waitingSince || Date.now()) > 2000 ? ` for the kernel, ${kept}` : ''}`]
      : s.link === 'opening' ? ['waiting', 'connecting …']
      : s.queue.strays.size ? ['strays', `not stored: ${s.queue.strays.size} of an earlier version`]
      : begun ? ['draft', 'not stored yet']
      : ['saved', this.left() ? `saved · ${this.left()} begun elsewhere, not stored` : 'saved']
    this.lead(begun)
    if (this.words.textContent === t && this.status.dataset.kind === kind) return
    text(this.words, t)
    this.root.dataset.state = this.status.dataset.kind = kind
    this.retry?.remove(); this.retry = null
    if (kind === 'failed') {
      this.retry = h('span', {class: 'pnl-row'}, h('button', {type: 'button', class: 'pnl-tool', onclick: () => s.resend()}, 'Retry'),
        s.error.final && h('button', {type: 'button', class: 'pnl-tool', onclick: () => s.discard()}, 'Discard'))
    }
    const more = (t, f) => this.retry = h('span', {class: 'pnl-row'}, h('button', {type: 'button', class: 'pnl-tool', onclick: f}, t))
    if (kind === 'strays') more('Look', () => { this.later = false; this.offer() })
    if (kind === 'draft') more('Discard', () => this.forgetDraft())
    if (kind === 'saved' && t !== 'saved') more('Show', () => s.open({filter: 'all', item: [...s.queue.drafted].find(i => i !== s.item()?.id)}))
    if (this.retry) this.status.append(this.retry)
    if (kind === 'failed' || kind === 'lost') this.say(t)
  }
  unstored() { return this.task.kind !== 'class' && !this.s.spec.grid && !!this.s.item() && this.mode.dirty() }
  left() { const {drafted} = this.s.queue; return this.task.kind === 'class' || this.s.spec.grid || this.s.spec.filter !== 'unlabeled' ? 0 : drafted.size - (this.s.item() && drafted.has(this.s.item().id) ? 1 : 0) }
  toast(t) {
    const el = h('div', {class: 'pnl-toast'}, t)
    this.stage.after(el)
    setTimeout(() => el.remove(), 2500)
  }

  // ---- what the annotator does
  onkey(ev) {
    ev.stopPropagation()
    const k = keyOf(ev), typing = ev.target.closest('input, textarea, select, [contenteditable]')
    if (!this.panel.hidden) return this.panels.key(k, ev)
    if (typing) return
    if (ev.ctrlKey || ev.metaKey || ev.altKey) {
      if (!ev.altKey && (k.toLowerCase() === 'z' || k.toLowerCase() === 'y')) { ev.preventDefault(); this.act(ev.shiftKey || k.toLowerCase() === 'y' ? 'redo' : 'undo') }
      else if (this.mode.chord?.(k, ev)) ev.preventDefault()
      return
    }
    if (ev.target !== this.root && ev.target.closest('button') && (k === 'Enter' || k === ' ')) return
    const other = codeKey(ev)
    if (this.press(k, ev) || other !== k && other !== undefined && this.press(other, ev)) ev.preventDefault()
  }
  press(k, ev) {
    if (this.s.feedback) { if (k === 'Enter' || k === 'ArrowRight') return this.next(), true; if (k in this.keys) return true }
    if (this.mode.key(ev, k)) return true
    const moves = k.startsWith('Arrow')
    if (ev.repeat && !moves) return k in this.keys || k in this.actions
    if (k in this.keys) return this.pick(this.keys[k]), true
    if (k in this.actions) return this.act(this.actions[k]), true
    return false
  }
  act(action) {
    const {s} = this
    if (['note', 'jump', 'filter', 'guide', 'find', 'help'].includes(action)) return this.panels.open(action)
    if (action === 'next' || action === 'previous') return this.walk(action === 'next' ? 1 : -1)
    if (action === 'undo') {
      if (this.mode.undo?.()) return
      const last = s.undo()
      return this.say(last ? 'undone' : 'asking for the last label')
    }
    if (action === 'redo') return this.mode.redo?.() || s.redo() ? this.say('redone') : this.say('nothing to redo')
    if (action === 'accept') return this.accept()
    if (action === 'skip') return this.skip()
    if (action === 'remove') return this.mode.remove?.()
    if (action === 'cancel') return this.mode.cancel?.()
  }
  walk(d) { return this.mode.leave && this.s.item() && !this.s.feedback ? this.mode.leave(d) : this.s.go(this.s.pos + d * (this.mode.step?.() ?? 1)) }
  next() { this.s.go(this.s.pos + (this.mode.step?.() ?? 1)) }
  accept() {
    if (this.s.feedback) return this.next()
    if (this.mode.accept) return this.mode.accept()
    const v = this.mode.value(), item = this.s.item(), mine = item && this.s.mine(item)
    if (mine && !mine.skip && !this.mode.dirty() && same(mine.value, v)) return this.next()        // it is stored already
    v === null || v === undefined ? this.say('there is nothing to accept: press the key of a class') : this.commit(v)
  }
  skip() {
    if (this.mode.skip) return this.mode.skip()
    const item = this.s.item()
    if (!item || this.s.feedback) return
    this.s.commit([{item, kind: 'skip'}])
    this.say('skipped')
  }
  pick(c) { if (this.s.item() && !this.s.feedback) this.mode.pick(c) }
  commit(value) {
    const item = this.s.item()
    if (!item) return
    this.s.commit([{item, kind: this.s.spec.review ? 'adjudicate' : 'label', value}])
    this.say(`${this.saying(value)}. ${this.s.item() ? `item ${this.s.pos + 1}` : ''}`)
  }
  changed() {
    const item = this.s.item()
    if (!item) return
    this.pressed(this.mode.active?.() ?? [])
    if (!this.s.spec.review) this.s.queue.draft(item.id, this.mode.dirty() ? this.mode.value() : null)
    this.state()
  }
}
