import {labeler} from './core.js'
import {surface} from './surfaces/boxes.js'
export default labeler({boxes: surface})
