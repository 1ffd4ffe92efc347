//! The model of a program, and edits as between two releases.

/// What a word of data holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    Raw(u64),
    Function(u32),
    Datum(u32),
}

/// The section a datum lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    ReadOnly,
    Data,
    Zeros,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datum {
    pub id: u32,
    pub home: Home,
    pub words: Vec<Word>,
}

/// How a datum is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Load,
    Address,
    Store(u32),
    Compare(u8),
}

/// A step of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// An instruction without an address, which a number chooses.
    Plain(u32),
    Call(u32),
    Jump(u32),
    Branch(u32),
    Use(u32, Access),
    /// Bytes that look like instructions, which a number chooses.
    Noise(u32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    pub id: u32,
    pub ops: Vec<Op>,
}

/// What is linked. Ids of functions and of data are each unique.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Program {
    pub functions: Vec<Function>,
    pub data: Vec<Datum>,
    next_id: u32,
}

/// Numbers from a seed.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.roll() % limit.max(1) as u64) as usize
    }
}

impl Program {
    /// A program of some functions and data that use each other.
    pub fn random(dice: &mut Dice, functions: usize, data: usize) -> Self {
        let mut program = Self::default();
        // Everything has a name before anything is used.
        for _ in 0..functions {
            let id = program.new_id();
            program.functions.push(Function { id, ops: Vec::new() });
        }
        for _ in 0..data {
            let id = program.new_id();
            let home = [Home::ReadOnly, Home::Data, Home::Data, Home::Zeros][dice.below(4)];
            program.data.push(Datum { id, home, words: Vec::new() });
        }
        for index in 0..functions {
            program.functions[index].ops = program.random_ops(dice);
        }
        for index in 0..data {
            program.data[index].words = program.random_words(dice, program.data[index].home);
        }
        program
    }

    fn new_id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    fn any_function(&self, dice: &mut Dice) -> u32 {
        self.functions[dice.below(self.functions.len())].id
    }

    fn any_datum(&self, dice: &mut Dice) -> u32 {
        self.data[dice.below(self.data.len())].id
    }

    fn random_ops(&self, dice: &mut Dice) -> Vec<Op> {
        let count = 8 + dice.below(30);
        let op = |_| match dice.below(12) {
            0 | 1 => Op::Call(self.any_function(dice)),
            2 => Op::Jump(self.any_function(dice)),
            3 => Op::Branch(self.any_function(dice)),
            4 => Op::Use(self.any_datum(dice), Access::Load),
            5 => Op::Use(self.any_datum(dice), Access::Address),
            6 => match dice.below(2) {
                0 => Op::Use(self.any_datum(dice), Access::Store(dice.roll() as u32 & 0xffff)),
                _ => Op::Use(self.any_datum(dice), Access::Compare(dice.roll() as u8 & 15)),
            },
            _ => Op::Plain(dice.roll() as u32),
        };
        (0..count).map(op).collect()
    }

    fn random_words(&self, dice: &mut Dice, home: Home) -> Vec<Word> {
        let count = 1 + dice.below(8);
        let word = |_| match (home, dice.below(4)) {
            (Home::Zeros, _) => Word::Raw(0),
            (_, 0) => Word::Raw(dice.roll() & 0xfff),
            (_, 1) => Word::Datum(self.any_datum(dice)),
            _ => Word::Function(self.any_function(dice)),
        };
        (0..count).map(word).collect()
    }

    /// The next release: functions come, go, move and change, data grows.
    pub fn edited(&self, dice: &mut Dice, edits: usize) -> Self {
        let mut next = self.clone();
        for _ in 0..edits {
            next.edit(dice);
        }
        next
    }

    /// With bytes in its code that look like instructions, so that every rule of a scan has something to decide.
    pub fn with_noise(mut self, dice: &mut Dice) -> Self {
        for function in &mut self.functions {
            function.ops.insert(dice.below(function.ops.len()), Op::Noise(dice.roll() as u32));
        }
        self
    }

    fn edit(&mut self, dice: &mut Dice) {
        match dice.below(6) {
            0 | 1 => {
                let function = Function { id: self.new_id(), ops: self.random_ops(dice) };
                self.functions.insert(dice.below(self.functions.len() + 1), function);
            }
            2 if self.functions.len() > 2 => {
                let gone = self.functions.remove(dice.below(self.functions.len())).id;
                let other = self.any_function(dice);
                self.retarget(gone, other);
            }
            3 => {
                let function = self.functions.remove(dice.below(self.functions.len()));
                self.functions.insert(dice.below(self.functions.len() + 1), function);
            }
            4 => {
                let index = dice.below(self.functions.len());
                let ops = &mut self.functions[index].ops;
                ops.insert(dice.below(ops.len() + 1), Op::Plain(dice.roll() as u32));
            }
            _ => {
                let index = dice.below(self.data.len());
                let more = self.random_words(dice, self.data[index].home);
                self.data[index].words.extend(more);
            }
        }
    }

    /// Whoever used function `gone` uses `other`.
    fn retarget(&mut self, gone: u32, other: u32) {
        for op in self.functions.iter_mut().flat_map(|function| &mut function.ops) {
            match op {
                Op::Call(id) | Op::Jump(id) | Op::Branch(id) if *id == gone => *id = other,
                _ => {}
            }
        }
        for word in self.data.iter_mut().flat_map(|datum| &mut datum.words) {
            if *word == Word::Function(gone) {
                *word = Word::Function(other);
            }
        }
    }
}
