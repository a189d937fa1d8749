// What lies over the item for a moment: keys, guideline, classes by name, filter, jump, note
import {h, kbd} from './dom.js'

const about = {unlabeled: 'neither labeled nor skipped by you', all: 'all, in order', mine: 'labeled by you', skipped: 'skipped by you', noted: 'with a note by anybody',
  class: 'of one class, by anybody …', annotator: 'labeled by one annotator …', search: 'file name, id or text …', disagreed: 'annotators disagree', uncertain: 'the model is least sure',
  shared: 'the shared queue', qualify: 'the qualification round', review: 'most disagreed first'}
const does = {accept: 'store what is chosen, drawn or proposed; go on where that is stored', skip: 'skip this item', undo: 'undo, also after a restart (also Ctrl+Z)', redo: 'redo (also Ctrl+Y)',
  note: 'write a note', jump: 'go to a number, or search file names, ids and texts', filter: 'choose which items', guide: 'read the guideline', find: 'find a class by name', help: 'these keys',
  previous: 'previous item', next: 'next item', remove: 'remove what is selected', cancel: 'let go of what is selected'}

export function panels(view) {
  const {s, task, panel} = view, {spec} = s
  let now = null
  const close = () => { panel.hidden = true; delete view.root.dataset.panel; panel.replaceChildren(); now = null; view.root.focus({preventScroll: true}) }
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

  function named(words, all, onpick) {                // a list that is found by name
    const list = choices(all, o => { close(); onpick(o) }), input = field(words.toLowerCase(), {role: 'combobox', 'aria-expanded': 'true'})
    const plain = t => t.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase()
    const narrow = () => {
      const q = plain(input.value), parts = q.split(/\s+/).filter(Boolean)
      const rank = o => { const n = plain(o.name); return n === q ? 0 : n.startsWith(q) ? 1 : parts.every(w => n.split(/[\s_\-]+/).some(p => p.startsWith(w))) ? 2 : parts.every(w => n.includes(w)) ? 3 : 9 }
      list.set(all.map(o => [rank(o), o]).filter(([r]) => r < 9).sort((a, b) => a[0] - b[0]).map(([, o]) => o))
    }
    input.addEventListener('input', narrow)
    return {body: [title(words), input, list.box], focus: input, key: list.key, fill(more) { all = more; narrow() }}
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
    find() { return named('Find a class', task.classes.map(c => ({name: c, color: task.colors[c], key: task.keys[c]})), o => view.pick(o.name)) },
    filter() {
      const all = spec.filters.map((f, i) => ({name: f, about: about[f], key: i < 9 ? String(i + 1) : null}))
      const pick = o => { if (o.name === 'search') return open('jump'); if (make[`by_${o.name}`]) return open(`by_${o.name}`); close(); s.open({filter: o.name}) }
      const list = choices(all, pick)
      list.box.tabIndex = -1
      return {body: [title('Which items'), list.box], focus: list.box, key: k => all[k - 1] ? (pick(all[k - 1]), true) : list.key(k)}
    },
    by_class() { return named('Items of a class', task.classes.map(c => ({name: c, color: task.colors[c], key: task.keys[c]})), o => s.open({filter: 'class', of: o.name})) },
    by_annotator() {
      const asked = named('Items of an annotator', [], o => s.open({filter: 'annotator', of: o.name}))
      const off = s.on((what, data) => { if (what === 'people') { off(); asked.fill(data) } })
      s.send({type: 'people'})
      return asked
    },
    jump() {
      const input = field(`a number from 1 to ${(s.end ?? s.total ?? s.n).toLocaleString('en')}${spec.filters.includes('search') ? ', or words of a file name, an id or a text' : ''}`)
      return {body: [title('Go to, or search'), input], focus: input, key: k => k === 'Enter' && (input.value.trim() && s.jump(input.value.trim()), close(), true)}
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
  function open(name) {
    if (name === 'guide' && !spec.guide) return view.say('this task has no guideline')
    const next = make[name]()
    if (!next) return
    now = next
    panel.replaceChildren(...now.body)
    panel.setAttribute('aria-label', name)
    panel.dataset.name = view.root.dataset.panel = name
    panel.hidden = false
    ;(now.focus ?? panel.querySelector('button')).focus({preventScroll: true})
    panel.scrollIntoView?.({block: 'nearest'})
  }
  return {
    open, close,
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
