// A polygon tool for Annotorious: its own takes no corner back and cannot be closed by a key
const SVG = 'http://www.w3.org/2000/svg', NEAR = 10

export class corners {                                // what Annotorious expects of a Svelte component
  constructor({target, props}) {
    this.target = target; this.props = props; this.made = () => {}
    this.points = []; this.cursor = null; this.down = null
    const on = (type, f, capture = true) => props.addEventListener(type, f, capture)
    on('pointerdown', ev => { this.down = {at: this.xy(ev), free: this.points.length || ev.shiftKey || !ev.target.closest('.a9s-annotation')} })
    on('pointermove', ev => { if (this.points.length) { this.cursor = this.xy(ev); this.draw() } })
    on('pointerup', ev => {
      const at = this.xy(ev), {down} = this
      this.down = null
      if (!down?.free || this.apart(at, down.at) > NEAR) return
      ev.stopImmediatePropagation()
      const n = this.points.length
      if (n > 2 && this.apart(at, this.points[0]) < NEAR) return this.close()
      if (n && this.apart(at, this.points[n - 1]) < 3) return this.close()       // the second click of a double click
      this.points.push(at); this.cursor = at; this.draw()
    })
    on('pnb-close', () => this.close())
    on('pnb-back', () => { this.points.pop(); this.draw() })
  }
  xy(ev) { return this.props.transform.elementToImage(ev.offsetX, ev.offsetY) }
  apart(a, b) { return Math.hypot(a[0] - b[0], a[1] - b[1]) * this.props.viewportScale }
  close() {
    const points = this.points, xs = points.map(p => p[0]), ys = points.map(p => p[1])
    if (points.length < 3) return
    this.points = []; this.draw()
    this.made({detail: {type: 'POLYGON', geometry: {points, bounds: {minX: Math.min(...xs), minY: Math.min(...ys), maxX: Math.max(...xs), maxY: Math.max(...ys)}}}})
  }
  draw() {
    this.g?.remove(); this.g = null
    if (!this.points.length) return
    const make = (tag, props) => { const el = document.createElementNS(SVG, tag); for (const [k, v] of Object.entries(props)) el.setAttribute(k, v); this.g.append(el) }
    this.g = document.createElementNS(SVG, 'g')
    this.g.setAttribute('class', 'pnb-corners')
    const line = [...this.points, this.cursor ?? this.points[0]].map(p => p.join(',')).join(' ')
    make('polyline', {points: line, class: 'pnb-halo'}); make('polyline', {points: line, class: 'pnb-line'})
    for (const [i, [x, y]] of this.points.entries()) make('circle', {cx: x, cy: y, r: (i ? 3 : 6) / this.props.viewportScale})
    this.target.append(this.g)
  }
  $on(type, f) { if (type === 'create') this.made = f }
  $set(props) { Object.assign(this.props, props); this.draw() }
  $destroy() { this.g?.remove() }
}
