// What lies over the item for a moment: keys, guideline, classes by name, filter, jump, note
import {h, kbd} from './dom.js'

const about = {unlabeled: 'not labeled by you', all: 'all, in order', mine: 'labeled or skipped by you', disagreed: 'annotators disagree', uncertain: 'the model is least sure',
  shared: 'the shared queue', qualify: 'the qualification round', review: 'most disagreed first'}
const does = {accept: 'accept what is proposed or chosen', skip: 'skip this item', undo: 'undo, also after a restart (also Ctrl+Z)', redo: 'redo (also Ctrl+Y)',
  note: 'write a note', jump: 'go to a number or an id', filter: 'choose which items', guide: 'read the guideline', find: 'find a class by name', help: 'these keys',
  previous: 'previous item', next: 'next item', remove: 'remove what is selected', cancel: 'let go of what is selected'}

export function panels(view) {
  const {s, task, panel} = view, {spec} = s
  let now = null
  const close = () => { panel.hidden = true; panel.replaceChildren(); now = null; view.root.focus({preventScroll: true}) }
  const title = (t, ...more) => h('div', {class: 'pnl-panelhead'}, h('b', {}, t), ...more, h('span', {class: 'pnl-space'}),
    h('button', {type: 'button', class: 'pnl-tool', 'aria-label': 'close', onclick: close}, h('span', {}, 'close'), kbd('Escape')))
  const field = (label, props = {}) => h(props.rows ? 'textarea' : 'input', {class: 'pnl-field', 'aria-label': label, placeholder: label, autocomplete: 'off', ...props})

  function choices(list, onpick) {                    // a list that is walked with arrows, its first ten by number
    let at = 0, shown = list
    const box = h('div', {class: 'pnl-list', role: 'listbox'})
    const draw = () => {
      box.replaceChildren(...shown.slice(0, 200).map((o, i) => h('button', {type: 'button', role: 'option', class: 'pnl-option', 'aria-selected': i === at,
        style: o.color ? {'--c': o.color} : {}, onclick: () => onpick(o)}, h('span', {dir: 'auto'}, o.name), o.about && h('small', {}, o.about), o.key && kbd(o.key))))
      box.children[at]?.scrollIntoView?.({block: 'nearest'})
    }
    draw()
    return {box, set(l) { shown = l; at = 0; draw() },
      key(k) {
        if (k === 'ArrowDown' || k === 'ArrowUp') { at = Math.max(0, Math.min(shown.length - 1, at + (k === 'ArrowDown' ? 1 : -1))); draw(); return true }
        if (k === 'Enter') { if (shown[at]) onpick(shown[at]); return true }
      }, get shown() { return shown }}
  }

  const make = {
    help() {
      const rows = [...(view.mode.help ?? []), ...Object.entries(spec.actions).filter(([a]) => !(a === 'guide' && !spec.guide) && !(['remove', 'cancel'].includes(a) && !view.mode[a]) && !view.mode.own?.includes(a)).map(([a, k]) => [k, does[a]])]
      return {body: [title('Keys'), h('dl', {class: 'pnl-help'}, rows.map(([k, t]) => [h('dt', {}, k === 'class key' ? h('kbd', {}, k) : kbd(k)), h('dd', {}, t)])),
        h('p', {class: 'pnl-small'}, 'Labels are stored one by one. What is not stored yet is kept in this browser and sent again.')]}
    },
    guide() {
      const doc = h('div', {class: 'pnl-guide', tabindex: 0})
      doc.innerHTML = spec.guide                      // made by tasks.guide_html, in which nothing of the text is markup of its own
      return {body: [title('Guideline', h('small', {}, `version ${task.version}`)), doc], focus: doc}
    },
    find() {
      const all = task.classes.map(c => ({name: c, color: task.colors[c], key: task.keys[c]}))
      const list = choices(all, o => { close(); view.pick(o.name) }), input = field('find a class', {role: 'combobox', 'aria-expanded': 'true'})
      const plain = t => t.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase()
      input.addEventListener('input', () => {
        const q = plain(input.value), words = q.split(/\s+/).filter(Boolean)
        const rank = o => { const n = plain(o.name); return n === q ? 0 : n.startsWith(q) ? 1 : words.every(w => n.split(/[\s_\-]+/).some(p => p.startsWith(w))) ? 2 : words.every(w => n.includes(w)) ? 3 : 9 }
        list.set(all.map(o => [rank(o), o]).filter(([r]) => r < 9).sort((a, b) => a[0] - b[0]).map(([, o]) => o))
      })
      return {body: [title('Find a class'), input, list.box], focus: input, key: list.key}
    },
    filter() {
      const all = spec.filters.map((f, i) => ({name: f, about: about[f], key: String(i + 1)}))
      const list = choices(all, o => { close(); s.open({filter: o.name}) })
      list.box.tabIndex = -1
      return {body: [title('Which items'), list.box], focus: list.box, key: k => all[k - 1] ? (close(), s.open({filter: all[k - 1].name}), true) : list.key(k)}
    },
    jump() {
      const input = field(`number 1 to ${(s.end ?? s.total ?? s.n).toLocaleString('en')}, or an id`)
      return {body: [title('Go to'), input], focus: input, key: k => k === 'Enter' && (input.value.trim() && s.jump(input.value.trim()), close(), true)}
    },
    note() {
      const item = view.mode.current?.() ?? s.item()
      if (!item) return null
      const input = field('what should others know about this item?', {rows: 3, maxlength: 10000, dir: 'auto'})
      input.value = item.note ?? ''
      return {body: [title('Note', h('small', {}, 'Enter stores it')), input], focus: input, key: (k, ev) => k === 'Enter' && !ev.shiftKey &&
        (input.value.trim() && (s.commit([{item, kind: 'note', value: input.value.trim()}]), view.say('note stored')), close(), true)}
    },
  }
  return {
    open(name) {
      if (name === 'guide' && !spec.guide) return view.say('this task has no guideline')
      now = make[name]()
      if (!now) return
      panel.replaceChildren(...now.body)
      panel.setAttribute('aria-label', name)
      panel.dataset.name = name
      panel.hidden = false
      ;(now.focus ?? panel.querySelector('button')).focus({preventScroll: true})
    },
    close,
    key(k, ev) {
      const name = panel.dataset.name
      if (k === 'Escape' || (name === 'help' || name === 'guide') && spec.actions[name] === k) { ev.preventDefault(); return close() }
      if (ev.isComposing) return
      const button = ev.target.closest('button:not(.pnl-option)')
      if (!(button && (k === 'Enter' || k === ' ')) && now?.key?.(k, ev)) ev.preventDefault()
      if (ev.key === 'Tab') {                         // the focus stays in the panel
        const all = [...panel.querySelectorAll('button:not(.pnl-option), input, textarea, [tabindex="0"], a[href]')], i = all.indexOf(ev.target)
        ev.preventDefault(); all[(i + (ev.shiftKey ? -1 : 1) + all.length) % all.length]?.focus()
      }
    },
  }
}
