// npm ci && npm run build: one ESM file a kind of task, its licences beside it. Files are the same bytes wherever they are built.
import {build} from 'esbuild'
import {createHash} from 'node:crypto'
import {existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync} from 'node:fs'
import {dirname, join} from 'node:path'
import {fileURLToPath} from 'node:url'

const here = dirname(fileURLToPath(import.meta.url)), out = join(here, '../../pretrain_notes/annotate/static')
const walk = d => readdirSync(d, {withFileTypes: true}).flatMap(e => e.isDirectory() ? walk(join(d, e.name)) : [join(d, e.name)])

// what the banner says: a digest of all sources and the lockfile, in the order of their paths (tests/test_labeler.py takes it too)
const sources = [...walk(join(here, 'src')), ...['build.mjs', 'package.json', 'package-lock.json'].map(f => join(here, f))]
  .map(f => f.slice(here.length + 1).replaceAll('\\', '/')).sort()
const sha = createHash('sha256')
for (const f of sources) sha.update(f + '\0').update(readFileSync(join(here, f))).update('\0')
const banner = `/* pretrain_notes labeler; built from js/labeler, sources sha256 ${sha.digest('hex')}; licences: LICENSES.txt */`

mkdirSync(out, {recursive: true})
const entries = readdirSync(join(here, 'src')).filter(f => /^labeler.*\.js$/.test(f)), used = new Set()
for (const f of entries) {
  const made = await build({entryPoints: [join(here, 'src', f)], outfile: join(out, f), bundle: true, minify: true, format: 'esm',
    target: 'es2021', charset: 'utf8', legalComments: 'none', loader: {'.css': 'text'}, banner: {js: banner}, metafile: true,
    absWorkingDir: here, logLevel: 'warning'})
  for (const p of Object.keys(made.metafile.inputs)) {
    const m = p.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)/)
    if (m) used.add(m[1])
  }
  console.log(f, (Object.values(made.metafile.outputs)[0].bytes / 1024).toFixed(0), 'KB')
}

// packages that come without their licence text (licenses/), and what is compiled into their files
const texts = {'@annotorious/annotorious': 'annotorious', '@annotorious/core': 'annotorious', '@recogito/text-annotator': 'text-annotator', svelte: 'svelte'}
const inside = {'@annotorious/annotorious': ['svelte', 'dequal', 'quickselect', 'rbush', 'simplify-js', 'uuid'], '@annotorious/core': ['dequal', 'nanoevents', 'nanoid', 'nanostores', 'uuid']}
for (const name of [...used]) for (const more of inside[name] ?? []) used.add(more)

let text = 'Third-party code in the files of this folder, with its licences\n'
for (const name of [...used].sort()) {
  const dir = join(here, 'node_modules', name), pkg = existsSync(dir) ? JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8')) : {version: '(compiled in)'}
  const files = existsSync(dir) ? readdirSync(dir).filter(f => /^(licen[cs]e|copying|notice)/i.test(f)).sort() : []
  const words = [...files.map(f => join(dir, f)), ...texts[name] ? [join(here, 'licenses', `${texts[name]}.txt`)] : []].map(f => readFileSync(f, 'utf8').trim()).join('\n\n')
  if (!words) throw new Error(`${name} has no licence text: put it in licenses/`)
  text += `\n${'='.repeat(100)}\n${name} ${pkg.version} · ${pkg.license ?? 'see below'} · ${pkg.homepage ?? ''}\n\n${words || '(the package carries no licence text)'}\n`
}
writeFileSync(join(out, 'LICENSES.txt'), text)
