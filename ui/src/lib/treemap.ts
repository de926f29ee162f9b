/** Squarified treemaps (Bruls, Huizing and van Wijk, 2000): areas in proportion to values, as square as they can be. */

export interface Rectangle {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** One rectangle for each of `values` (positive, largest first), which together fill `room`. */
export function squarify(values: number[], room: Rectangle): Rectangle[] {
  const total = values.reduce((sum, value) => sum + value, 0);
  if (total <= 0 || room.width <= 0 || room.height <= 0) return values.map(() => ({ ...room, width: 0, height: 0 }));
  const scale = (room.width * room.height) / total;
  const areas = values.map((value) => value * scale);
  const placed: Rectangle[] = [];
  let rest = { ...room };
  let start = 0;
  while (start < areas.length) {
    // A row lies along the shorter side and grows while that makes its worst rectangle squarer.
    const side = Math.min(rest.width, rest.height);
    let end = start + 1;
    let sum = areas[start] ?? 0;
    let worst = worstRatio(areas, start, end, sum, side);
    while (end < areas.length) {
      const longer = sum + (areas[end] ?? 0);
      const ratio = worstRatio(areas, start, end + 1, longer, side);
      if (ratio > worst) break;
      sum = longer;
      worst = ratio;
      end += 1;
    }
    // Never deeper than the room, whatever rounding says of a tiny rest.
    const depth = side > 0 ? Math.min(sum / side, Math.max(rest.width, rest.height)) : 0;
    const upright = rest.width >= rest.height;
    let along = upright ? rest.y : rest.x;
    for (let index = start; index < end; index += 1) {
      const length = depth > 0 ? (areas[index] ?? 0) / depth : 0;
      placed.push(
        upright
          ? { x: rest.x, y: along, width: depth, height: length }
          : { x: along, y: rest.y, width: length, height: depth },
      );
      along += length;
    }
    rest = upright
      ? { ...rest, x: rest.x + depth, width: Math.max(0, rest.width - depth) }
      : { ...rest, y: rest.y + depth, height: Math.max(0, rest.height - depth) };
    start = end;
  }
  return placed;
}

/** How far from square the worst rectangle of a row is: 1 is square. */
function worstRatio(areas: number[], start: number, end: number, sum: number, side: number): number {
  let worst = 1;
  const depth = sum / side;
  for (let index = start; index < end; index += 1) {
    const length = (areas[index] ?? 0) / depth;
    worst = Math.max(worst, length / depth, depth / length);
  }
  return worst;
}
