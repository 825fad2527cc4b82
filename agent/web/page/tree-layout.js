// The positions of a tree's boxes. Layout `wide` runs from left to right, with GPUs in one column;
// `tall` runs downwards with indentation, for a narrow screen. Both give
// {width, height, boxes: [{box, x, y, width, height}], links: [{link, from, to, y, label}], trunks:
// [{x, from, to}]}. Lengths are CSS pixels. A link is a horizontal line, label is {x, y, width} of
// the text beside it, and a trunk joins the links of one box.

const BOX = { width: 156, height: 62 };
const GPU = { width: 190, height: 62 };
const ROW = 86; // a GPU's box and the space around it
const LINK = { least: 176, most: 300 };
const TALL = { box: 58, label: 40, gap: 10, indent: 30, least: 14, text: 190 };

export function layout(root, available) {
  const wide = layoutWide(root, available);
  return wide.width <= available ? wide : layoutTall(root, available);
}

function depth(box) {
  return box.links.length === 0 ? 0 : 1 + Math.max(...box.links.map(({ box: b }) => depth(b)));
}

/**
 * Columns by depth, all leaves in the last one. A box is as tall as its children, so that every
 * link is a horizontal line to the middle of the lower box.
 */
function layoutWide(root, available) {
  const columns = Math.max(1, depth(root));
  const room = (available - BOX.width * columns - GPU.width) / columns;
  const gap = Math.min(LINK.most, Math.max(LINK.least, Math.floor(room)));
  const result = { kind: "wide", boxes: [], links: [], trunks: [] };
  const left = (level) => level * (BOX.width + gap);
  let bottom = 0;

  function place(box, level) {
    const isLeaf = box.links.length === 0 && box !== root;
    const x = left(isLeaf ? columns : level);
    const placed = { box, x, width: isLeaf ? GPU.width : BOX.width };
    result.boxes.push(placed);
    if (box.links.length === 0) {
      Object.assign(placed, { y: bottom + (ROW - GPU.height) / 2, height: GPU.height });
      bottom += ROW;
      return placed;
    }
    const inner = box.links.map((link) => place(link.box, level + 1));
    const last = inner[inner.length - 1];
    Object.assign(placed, { y: inner[0].y, height: last.y + last.height - inner[0].y });
    box.links.forEach((link, index) => {
      const y = inner[index].y + inner[index].height / 2;
      result.links.push({
        link,
        from: x + placed.width,
        to: inner[index].x,
        y,
        label: { x: x + placed.width + 12, y, width: inner[index].x - x - placed.width - 18 },
      });
    });
    return placed;
  }

  place(root, 0);
  return { ...result, width: left(columns) + GPU.width, height: Math.max(bottom, ROW) };
}

/** One box below the other, indented by depth; links run down at their parent's left. */
function layoutTall(root, available) {
  const levels = Math.max(1, depth(root));
  const indent = Math.min(TALL.indent,
    Math.max(TALL.least, Math.floor((available - TALL.text) / levels)));
  const width = Math.max(available, levels * indent + TALL.text);
  const result = { kind: "tall", boxes: [], links: [], trunks: [] };
  let bottom = 4;

  function place(box, level) {
    const placed = {
      box, x: level * indent, y: bottom, width: width - level * indent, height: TALL.box,
    };
    result.boxes.push(placed);
    bottom += TALL.box + TALL.gap;
    const trunk = { x: placed.x + 8, from: placed.y + placed.height, to: bottom };
    if (box.links.length > 0) result.trunks.push(trunk);
    for (const link of box.links) {
      const top = bottom;
      bottom += TALL.label;
      const below = place(link.box, level + 1);
      const y = below.y + below.height / 2;
      result.links.push({
        link,
        from: trunk.x,
        to: below.x,
        y,
        label: { x: below.x + 2, y: top + TALL.label / 2 - 3, width: width - below.x - 4 },
      });
      trunk.to = y;
    }
    return placed;
  }

  place(root, 0);
  return { ...result, width, height: bottom };
}
