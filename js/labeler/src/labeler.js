import {labeler} from './core.js'
import {surface} from './surfaces/class.js'
export default labeler({class: surface, classes: surface})
