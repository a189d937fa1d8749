import {labeler} from './core.js'
import {surface} from './surfaces/spans.js'
export default labeler({spans: surface})
