// What the page knows, once a widget model: items around the place where you are, labels given, labels not yet stored.
// Never waits for the kernel. Views (there may be several) draw what is here.
import {same, uuid} from './dom.js'
import {Queue} from './queue.js'

const BUDGET = 32 * 2 ** 20, BEHIND = 24, CHUNK = 16, HISTORY = 500, RETRY = 5000, PAUSE = 60000, HEAR = 1000, GONE = 3600000
const worth = said => [!!said && !said.skip, !!said?.skip].map(Number)      // labeled, skipped

export class Session {
  constructor(model) {
    this.model = model
    this.spec = model.get('spec')
    this.view = uuid()
    this.subs = new Set()
    this.items = new Map()                            // place -> item
    this.local = new Map()                            // item id -> what was said here and is not stored yet
    this.pos = 0; this.total = null; this.bytes = 0; this.snap = null
    this.filter = this.spec.filter; this.of = null    // `of`: which class, annotator or words, where a filter asks for one
    this.done = 0; this.skipped = 0; this.n = this.spec.n
    this.offered = null                               // of labels to an earlier version of the task: what the kernel says of them
    this.touched = Date.now(); this.renewed = Date.now(); this.stale = false
    this.stack = []; this.redos = []; this.times = []
    this.error = null; this.feedback = null; this.waitingSince = 0
    this.link = 'opening'                             // 'opening', 'live', 'lost'
    this.sent = new Map()                             // uuid -> number of the ping before which it was sent
    this.pings = 0; this.pong = 0
    const {store_id, task, annotator, definition, versions} = this.spec
    this.queue = new Queue({store: store_id, task: task.name, version: task.version, annotator, definition, versions},
      {onchange: () => this.queued(), onheard: acks => this.heard(acks)})
    for (const e of this.queue.events()) this.overlay(e)
    this.onmsg = (m, buffers) => this.receive(m, buffers)
    this.onlive = () => this.ping()
    model.on('msg:custom', this.onmsg)
    model.on('comm_live_update', this.onlive)
    this.hidden = 0; this.shown = performance.now()
    this.onvisible = () => { if (document.hidden) this.hid = performance.now(); else if (this.hid) { this.hidden += performance.now() - this.hid; this.hid = 0 } }
    document.addEventListener('visibilitychange', this.onvisible)
    this.timer = setInterval(() => this.tick(), 1000)
    this.open({filter: this.filter})
  }
  close() {
    clearInterval(this.timer); clearTimeout(this.hearing); this.queue.close()
    this.model.off('msg:custom', this.onmsg); this.model.off('comm_live_update', this.onlive)
    document.removeEventListener('visibilitychange', this.onvisible)
    for (const p of [...this.items.keys()]) this.drop(p)
  }
  on(f) { this.subs.add(f); if (this.stale) this.sync(); return () => this.subs.delete(f) }
  emit(what, data) { for (const f of [...this.subs]) f(what, data) }

  // ---- to the kernel
  send(msg) {
    try { this.model.send({...msg, view: this.view}); return true }
    catch { if (this.link !== 'lost') { this.link = 'lost'; this.emit('status') } return false }
  }
  ping() { if (this.send({type: 'ping', n: this.pings + 1})) this.pings++ }
  open(what) { this.opening = what; this.send({type: 'open', ...what}) }
  reopen(more = {}) { this.open({filter: this.filter, of: this.of, ...more}) }
  transmit(events) {
    const batches = new Map()
    for (const e of events) batches.set(e.batch, [...batches.get(e.batch) ?? [], e])
    for (const list of batches.values())
      if (this.send({type: 'events', events: list.map(({old, n, batch, of, key, task, ...e}) => e), ...list[0].of ? {version: list[0].of, task: this.queue.defined(list[0].of)} : {}}))
        for (const e of list) this.sent.set(e.uuid, this.pings)
  }
  resend() { this.sent.clear(); this.error = this.error?.final ? this.error : null; this.transmit(this.queue.events()) }
  tick() {
    const now = Date.now()
    this.waitingSince = this.queue.size ? this.waitingSince || now : 0
    if (this.error && !this.error.final && now - this.error.at > RETRY) this.resend()
    const idle = !this.queue.size && !this.wanting && !this.opening
    if (!idle && this.pong >= this.pings || this.link === 'lost') this.ping()
    if (!idle) this.emit('status')
    if (this.spec.shared && this.subs.size && now - this.renewed > this.spec.renew * 1000 && now - this.touched < GONE) this.renew()
  }
  renew() {                                           // what is on the page and not answered stays leased while the page lives
    const ids = [...this.items.values()].filter(it => it.pos >= this.pos && !this.mine(it)).map(it => it.id)
    this.renewed = Date.now()
    if (ids.length) this.send({type: 'renew', items: ids})
  }
  on_lost(m) { const gone = new Set(m.items); for (const it of this.items.values()) if (gone.has(it.id)) it.lost = true }
  heard(acks) {                                       // another page of this annotator has stored these
    const by = new Map(acks.map(a => [a.item, a.mine])), busy = new Set(this.queue.events().map(e => e.item))
    for (const it of this.items.values()) {
      if (!by.has(it.id) || same(it.mine, by.get(it.id))) continue
      it.mine = by.get(it.id); it.elsewhere = !!it.mine
      if (!busy.has(it.id)) this.local.delete(it.id)
    }
    this.stale = true
    if (!this.subs.size) return
    this.emit('mine')
    this.hearing ??= setTimeout(() => this.sync(), HEAR)
  }
  sync() {                                            // ask the kernel what stands now
    clearTimeout(this.hearing)
    this.hearing = null; this.stale = false
    if (this.snap !== null) this.send({type: 'sync', items: [...this.items.values()].map(it => it.id)})
  }
  queued() {                                          // the queue changed, here or in another tab
    const fresh = this.queue.events().filter(e => e.old && !this.sent.has(e.uuid))
    for (const e of fresh) this.overlay(e)
    if (this.queue.strays.size && !this.offered && this.link === 'live') this.ask()
    if (fresh.length && this.link === 'live') this.transmit(fresh)
    this.emit('status')
  }
  overlay(e) {
    if (e.of) return                                  // an answer to another version of the task may be none here
    if (e.kind === 'label' || e.kind === 'adjudicate') this.local.set(e.item, {value: e.value})
    else if (e.kind === 'skip') this.local.set(e.item, {skip: true})
    else if (e.kind === 'undo' && e.item) this.local.set(e.item, null)
  }

  // ---- from the kernel
  receive(m, buffers) {
    if (m.to && m.to !== this.view) return
    if (this.link !== 'live' && m.to) { this.link = 'live'; this.emit('status') }
    this['on_' + m.type]?.(m, buffers ?? [])
  }
  on_pong(m) {
    this.pong = Math.max(this.pong, m.n)
    const late = this.queue.events().filter(e => !this.sent.has(e.uuid) || this.sent.get(e.uuid) < m.n - 1)
    if (late.length && !this.error) this.transmit(late)
    if (this.opening && this.openedPing !== undefined && this.openedPing < m.n - 1) this.open(this.opening)
    this.openedPing = this.opening ? this.openedPing ?? m.n : undefined
    if (this.wanting && this.wanting.ping < m.n - 1) { this.wanting = null; this.fill() }
  }
  on_opened(m) {
    for (const p of [...this.items.keys()]) this.drop(p)
    Object.assign(this, {snap: m.snap, filter: m.filter, of: m.of ?? null, total: m.total, end: m.end ?? null, pos: m.at ?? 0, wanting: null, opening: null, feedback: null})
    this.progress(m.progress)
    this.transmit(this.queue.events())
    if (this.queue.strays.size) this.ask()
    this.enter()
  }
  ask() { this.offered ??= {since: new Set()}; this.send({type: 'strays', events: [...this.queue.strays.values()].map(({uuid, item, t}) => ({uuid, item, t}))}) }
  on_strays(m) { this.offered = {since: new Set(m.since)}; this.emit('strays') }
  on_synced(m) {
    for (const it of this.items.values()) {
      const now = m.mine[it.id] ?? null
      if (this.local.has(it.id) || same(it.mine, now)) continue
      it.mine = now; it.elsewhere = !!now
    }
    if (!this.queue.size) this.progress(m.progress)
    this.emit('mine')
  }
  on_items(m, buffers) {
    if (m.snap !== this.snap) return
    this.wanting = null
    if (m.end !== null && m.end !== undefined) this.end = m.end
    if (m.total !== null && m.total !== undefined) this.total = m.total
    const had = this.items.has(this.pos)
    for (const it of m.items) {
      if (this.items.has(it.pos)) this.drop(it.pos)
      const b = it.buffer === undefined ? null : buffers[it.buffer]
      if (b) { it.url = URL.createObjectURL(new Blob([b], {type: it.mime})); it.bytes = b.byteLength } else it.bytes = 2 * (it.text?.length ?? 0)
      this.bytes += it.bytes
      this.items.set(it.pos, it)
    }
    this.evict()
    if (!had && this.items.has(this.pos)) this.enter(); else { this.emit('items'); this.fill() }
    this.empty = !m.items.length
  }
  on_ack(m) {
    for (const a of m.acks) {
      this.sent.delete(a.uuid)
      this.local.delete(a.item)
      for (const it of this.items.values()) if (it.id === a.item) { if (m.from !== this.view && !same(it.mine, a.mine)) it.elsewhere = !!a.mine; it.mine = a.mine }
    }
    this.queue.done(m.acks.map(a => a.uuid), m.acks.map(({item, mine}) => ({item, mine})))
    for (const e of this.queue.events()) this.overlay(e)          // a later answer to the same item, still on its way
    if (this.error && !this.queue.size) this.error = null
    if (m.progress && !this.queue.size) this.progress(m.progress)
    const back = m.from === this.view && m.acks.find(a => a.lost)
    if (back && Array.isArray(back.value) && back.value.length) this.queue.draft(back.item, back.value)
    if (back) back.item ? this.reopen({first: back.item}) : this.emit('say', 'There is nothing to undo.')
    const gold = m.from === this.view && m.acks.find(a => a.gold)
    if (gold && this.feedback?.item === gold.item) { this.feedback = {...this.feedback, ...gold.gold}; this.emit('feedback') }
    if (this.queue.strays.size) this.ask()            // it may be an answer to one of them
    this.emit('mine'); this.emit('status')
  }
  on_nack(m) {
    if (m.from !== this.view && !m.uuids.some(u => this.queue.list.has(u))) return
    this.error = {text: m.error, final: m.final, unknown: m.unknown, uuids: m.uuids, at: Date.now()}
    this.emit('status')
  }
  on_error(m) { this.opening = this.wanting = null; this.emit('say', m.error); this.emit('failed', m.error) }
  on_people(m) { this.emit('people', m.names.map(name => ({name}))) }
  on_progress(m) { this.progress(m.progress) }
  progress(p) { if (p) { Object.assign(this, p); this.emit('progress') } }         // done, skipped, n
  counted(before, after) {
    const [a, b] = [worth(before), worth(after)]
    this.done += b[0] - a[0]; this.skipped += b[1] - a[1]
  }

  // ---- items near by
  get ahead() {                                       // a place of the shared queue is held: two of them, more only for who works fast
    if (!this.spec.shared || this.spec.grid) return this.spec.ahead
    const v = this.speed()
    return Math.min(this.spec.ahead, v === null ? 3 : 2 + Math.floor(v / 6))
  }
  item(p = this.pos) { return this.items.get(p) }
  mine(it) { return it && this.local.has(it.id) ? this.local.get(it.id) : it?.mine ?? null }
  fill() {
    if (this.snap === null || this.wanting) return
    let from = this.pos
    while (this.items.has(from)) from++
    const near = from - this.pos
    if (near > this.ahead - CHUNK && near > 1 && this.ahead > CHUNK || near >= this.ahead || this.end !== null && from >= this.end || this.bytes > BUDGET * .75 && near > 2) return
    this.wanting = {from, ping: this.pings}
    this.send({type: 'want', snap: this.snap, from, n: Math.min(CHUNK, this.ahead - near)})
  }
  drop(p) {
    const it = this.items.get(p)
    if (!it) return
    if (it.url) URL.revokeObjectURL(it.url)
    it.img = null
    this.bytes -= it.bytes
    this.items.delete(p)
  }
  evict() {
    const page = this.spec.grid || 1
    for (const p of [...this.items.keys()]) if (p < this.pos - BEHIND * (page > 1 ? 4 : 1) || p > this.pos + this.ahead + 2 * CHUNK) this.drop(p)
    const far = [...this.items.keys()].sort((a, b) => Math.abs(a - this.pos) - Math.abs(b - this.pos))
    while (this.bytes > BUDGET && far.length > page + 2) this.drop(far.pop())
  }
  warm() {                                            // decode the next pictures now, not when they are shown
    for (let p = this.pos; p < this.pos + 4; p++) {
      const it = this.items.get(p)
      if (it?.url && !it.img) { it.img = new Image(); it.img.src = it.url; it.img.decode?.().catch(() => {}) }
    }
    for (const [p, it] of this.items) if (it.img && (p < this.pos - 2 || p > this.pos + 6)) it.img = null
  }
  atEnd() { return this.end !== null && this.pos >= this.end }
  go(p) {
    const last = this.end ?? this.total ?? Infinity
    p = Math.max(0, Math.min(p, last))
    if (p === this.pos && this.items.has(p)) return
    this.pos = p
    this.feedback = null
    this.enter()
  }
  enter() {
    this.shown = performance.now(); this.hidden = 0
    this.evict(); if (!this.spec.grid) this.warm()
    this.emit('item')
    this.fill()
  }
  jump(where) {
    const n = Number(where)
    if (Number.isInteger(n) && n >= 1 && (this.end ?? this.total ?? 0) >= n) this.go(n - 1)
    else if (this.spec.shared) this.emit('say', 'The shared queue says which item comes next.')
    else this.open(this.spec.filters.includes('search') ? {filter: 'search', of: String(where)} : {filter: this.filter, item: String(where)})
  }

  // ---- what the annotator does
  spent() { return Math.max(0, performance.now() - this.shown - this.hidden) / 1000 }
  commit(changes, forward = 1) {                      // [{item, kind, value}], stored together and undone together
    const t = Date.now(), batch = uuid(), seconds = Math.round(this.spent() / changes.length * 100) / 100
    const made = changes.map(({item, kind, value}, n) => ({uuid: uuid(), batch, t, n, kind, item: item.id, value: value ?? null, seconds,
      proposal: item.proposal ?? null}))
    const evs = made.map((e, i) => ({uuid: e.uuid, item: changes[i].item, kind: e.kind, value: e.value, before: this.mine(changes[i].item)}))
    if (changes[0].kind !== 'note') {
      this.stack.push({pos: this.pos, snap: this.snap, evs}); if (this.stack.length > HISTORY) this.stack.shift()
      for (const e of evs) this.counted(e.before, e.kind === 'skip' ? {skip: true} : {value: e.value})
      for (const e of made) { this.overlay(e); this.times.push(t) }
      this.times = this.times.slice(-60)
      this.redos = []
      for (const e of made) if (e.kind !== 'skip') this.queue.draft(e.item, null)   // what was drawn before a skip is still there when one comes back
    } else for (const c of changes) c.item.note = c.value
    if (this.spec.qualify && changes[0].kind === 'label') { this.feedback = {item: made[0].item, value: made[0].value}; forward = 0 }
    this.queue.add(made)
    this.transmit(made)
    if (forward && changes[0].kind !== 'note') this.go(this.beyond(this.pos + forward))
    else { this.emit('mine'); this.emit('feedback') }
    this.emit('progress')
    return made
  }
  beyond(p) {                                         // past what another page of this annotator has answered meanwhile, and what is held no more
    const over = it => it?.lost || this.filter === 'unlabeled' && it?.elsewhere && this.mine(it)
    while (!this.spec.grid && over(this.items.get(p))) p++
    return p
  }
  undo() {
    const last = this.stack.pop(), t = Date.now(), batch = uuid()
    const back = (last?.evs ?? [{uuid: null, item: {id: ''}}]).map((e, n) => ({uuid: uuid(), batch, t, n, kind: 'undo', item: e.item.id, ref: e.uuid}))
    if (last) {
      for (const e of last.evs) {
        this.counted(this.mine(e.item), e.before)
        this.local.set(e.item.id, e.before)
        if (e.kind === 'label' && Array.isArray(e.value) && e.value.length && !this.spec.grid) this.queue.draft(e.item.id, e.value)    // taken back, and still there to be mended
      }
      this.redos.push(last); this.times.splice(-last.evs.length)
      this.feedback = null
    }
    this.queue.add(back)
    this.transmit(back)
    if (last) {
      if (last.snap !== this.snap) this.reopen({first: last.evs[0].item.id})
      else if (last.pos !== this.pos) this.go(last.pos)
      else this.emit('item')
    }
    this.emit('progress')
    return last
  }
  redo() {
    const next = this.redos.pop(), rest = this.redos
    if (!next) return null
    if (next.snap === this.snap && next.pos !== this.pos) this.go(next.pos)
    this.commit(next.evs.map(({item, kind, value}) => ({item, kind, value})), this.spec.grid ? 0 : 1)
    this.redos = rest
    return next
  }
  settle(uuids, store) {                              // labels to an earlier version: store them under that version, or give them up
    if (store) this.transmit(this.queue.adopt(uuids)); else this.queue.done(uuids)
    this.emit('strays'); this.emit('status')
  }
  discard() { if (this.error) { const u = this.error.uuids; this.error = null; for (const id of u) { const e = this.queue.list.get(id); if (e) this.local.delete(e.item) } this.queue.done(u); this.emit('mine'); this.emit('status') } }

  speed() {                                           // labels a minute, pauses left out
    const t = this.times, gaps = t.slice(1).map((v, i) => v - t[i]).filter(g => g < PAUSE)
    const sum = gaps.reduce((a, b) => a + b, 0)
    return gaps.length < 4 || sum <= 0 ? null : gaps.length / sum * 60000
  }
}
