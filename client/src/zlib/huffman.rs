//! Code trees, with zlib's way of choosing among trees that are equally good.

/// Symbols of literals, the end of a block, and lengths.
pub(super) const LITERALS: usize = 286;
/// Symbols of distances.
pub(super) const DISTANCES: usize = 30;
/// Symbols that write the lengths of codes.
pub(super) const LENGTHS: usize = 19;

const SYMBOLS_MAX: usize = LITERALS;
const NODES_MAX: usize = 2 * SYMBOLS_MAX + 1;

/// One code: a code for each symbol, its lowest bit first, and its length in bits; 0 for a symbol that has none.
#[derive(Clone)]
pub(super) struct Code {
    pub(super) bits: Vec<u16>,
    pub(super) lengths: Vec<u8>,
}

impl Code {
    /// The canonical code of these lengths (RFC 1951, 3.2.2).
    pub(super) fn of_lengths(lengths: Vec<u8>) -> Self {
        let mut next = [0u16; 16];
        let mut code = 0u16;
        for length in 1..16u8 {
            next[usize::from(length)] = code;
            let count = lengths.iter().filter(|other| **other == length).count() as u16;
            code = code.wrapping_add(count) << 1;
        }
        let assign = |length: &u8| {
            if *length == 0 {
                return 0;
            }
            let code = &mut next[usize::from(*length)];
            let bits = code.reverse_bits() >> (16 - u16::from(*length));
            *code = code.wrapping_add(1);
            bits
        };
        Self { bits: lengths.iter().map(assign).collect(), lengths }
    }
}

/// The code of symbols that occur as often as `counts` says, with lengths up to `length_max`, and the last symbol that
/// has a code. At least two symbols get one.
pub(super) fn build(counts: &[u16], length_max: u8) -> (Code, usize) {
    let mut tree = Tree::new(counts);
    let last = tree.join();
    (Code::of_lengths(tree.lengths(last, length_max)), last)
}

/// Nodes numbered from the symbols on. A heap holds those without a parent, the rarest first; `order` gathers all, the
/// root at the end.
struct Tree {
    symbols: usize,
    counts: [u16; NODES_MAX],
    depths: [u8; NODES_MAX],
    parents: [u16; NODES_MAX],
    heap: Vec<u16>,
    order: Vec<u16>,
}

impl Tree {
    fn new(counts: &[u16]) -> Self {
        let mut all = [0; NODES_MAX];
        all[..counts.len()].copy_from_slice(counts);
        // The heap's places count from 1.
        Self {
            symbols: counts.len(),
            counts: all,
            depths: [0; NODES_MAX],
            parents: [0; NODES_MAX],
            heap: vec![0],
            order: Vec::new(),
        }
    }

    /// Joins the two rarest nodes until one is left; gives the last symbol that is a leaf.
    fn join(&mut self) -> usize {
        let mut last = None;
        for symbol in (0..self.symbols).filter(|symbol| self.counts[*symbol] != 0) {
            self.heap.push(symbol as u16);
            last = Some(symbol);
        }
        while self.heap.len() < 3 {
            let symbol = match last {
                None => 0,
                Some(symbol @ 0..2) => symbol + 1,
                Some(_) => 0,
            };
            last = last.max(Some(symbol));
            self.counts[symbol] = 1;
            self.heap.push(symbol as u16);
        }
        (1..=(self.heap.len() - 1) / 2).rev().for_each(|place| self.sink(place));
        let mut node = self.symbols;
        while self.heap.len() > 2 {
            let rarest = self.heap.swap_remove(1);
            self.sink(1);
            let second = self.heap[1];
            self.order.extend([rarest, second]);
            let [a, b] = [usize::from(rarest), usize::from(second)];
            self.counts[node] = self.counts[a].wrapping_add(self.counts[b]);
            self.depths[node] = self.depths[a].max(self.depths[b]).wrapping_add(1);
            (self.parents[a], self.parents[b]) = (node as u16, node as u16);
            self.heap[1] = node as u16;
            self.sink(1);
            node += 1;
        }
        self.order.push(self.heap[1]);
        last.unwrap_or_default()
    }

    /// Lets the node at a place of the heap sink to where its children are not rarer.
    fn sink(&mut self, mut place: usize) {
        let Some(&node) = self.heap.get(place) else { return };
        while 2 * place < self.heap.len() {
            let mut child = 2 * place;
            if child + 1 < self.heap.len() && self.is_rarer(self.heap[child + 1], self.heap[child]) {
                child += 1;
            }
            if self.is_rarer(node, self.heap[child]) {
                break;
            }
            self.heap[place] = self.heap[child];
            place = child;
        }
        self.heap[place] = node;
    }

    fn is_rarer(&self, a: u16, b: u16) -> bool {
        let key = |node: u16| (self.counts[usize::from(node)], self.depths[usize::from(node)]);
        key(a) <= key(b)
    }

    /// Bits of each symbol's code.
    fn lengths(&self, last: usize, length_max: u8) -> Vec<u8> {
        let mut lengths = [0u8; NODES_MAX];
        let mut leaves_of = [0u16; 17];
        let mut too_long = 0i32;
        // From the root down; it has length 0 itself.
        for node in self.order.iter().rev().skip(1).map(|node| usize::from(*node)) {
            let mut length = lengths[usize::from(self.parents[node])] + 1;
            if length > length_max {
                length = length_max;
                too_long += 1;
            }
            lengths[node] = length;
            if node <= last {
                leaves_of[usize::from(length)] += 1;
            }
        }
        if too_long > 0 {
            self.shorten(&mut lengths, &mut leaves_of, too_long, last, length_max);
        }
        lengths[..self.symbols].to_vec()
    }

    /// Makes room for leaves that lie too deep: a leaf higher up goes down by one, and takes one of them as its brother.
    fn shorten(&self, lengths: &mut [u8], leaves_of: &mut [u16], mut too_long: i32, last: usize, length_max: u8) {
        let deepest = usize::from(length_max);
        while too_long > 0 {
            let mut length = deepest - 1;
            while leaves_of[length] == 0 {
                length -= 1;
            }
            leaves_of[length] -= 1;
            leaves_of[length + 1] += 2;
            leaves_of[deepest] -= 1;
            too_long -= 2;
        }
        // The rarest leaves, which come first in the order, take the longest codes.
        let mut leaves = self.order.iter().map(|node| usize::from(*node)).filter(|node| *node <= last);
        for length in (1..=deepest).rev() {
            for leaf in leaves.by_ref().take(usize::from(leaves_of[length])) {
                lengths[leaf] = length as u8;
            }
        }
    }
}
