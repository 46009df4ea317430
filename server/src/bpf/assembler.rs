//! eBPF instructions and a small assembler with labels.
//!
//! Encoding: `Documentation/bpf/standardization/instruction-set.rst` of the kernel.

use std::collections::HashMap;

/// A register. `R0` holds results, `R1` to `R5` arguments, `R6` to `R9` survive calls, `R10` is the
/// frame pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R6 = 6,
    R7,
    R8,
    R9,
    R10,
}

/// One instruction as the kernel reads it (`struct bpf_insn`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high half.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// Width of a load or a store.
#[derive(Clone, Copy, Debug)]
pub(super) enum Width {
    /// 2 bytes.
    Half,
    /// 4 bytes.
    Word,
    /// 8 bytes.
    Double,
}

impl Width {
    const fn code(self) -> u8 {
        match self {
            Self::Word => 0x00,
            Self::Half => 0x08,
            Self::Double => 0x18,
        }
    }
}

/// An arithmetic operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    Add,
    Subtract,
    Multiply,
    Or,
    And,
    ShiftLeft,
    ShiftRight,
    Remainder,
    Move,
}

impl Operation {
    const fn code(self) -> u8 {
        match self {
            Self::Add => 0x00,
            Self::Subtract => 0x10,
            Self::Multiply => 0x20,
            Self::Or => 0x40,
            Self::And => 0x50,
            Self::ShiftLeft => 0x60,
            Self::ShiftRight => 0x70,
            Self::Remainder => 0x90,
            Self::Move => 0xb0,
        }
    }
}

/// A condition of a jump; comparisons are unsigned.
#[derive(Clone, Copy, Debug)]
pub(super) enum Condition {
    Equal,
    Different,
    GreaterOrEqual,
}

impl Condition {
    const fn code(self) -> u8 {
        match self {
            Self::Equal => 0x10,
            Self::GreaterOrEqual => 0x30,
            Self::Different => 0x50,
        }
    }
}

/// Names a position in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Label(&'static str, u32);

impl Label {
    pub(super) const fn new(name: &'static str) -> Self {
        Self(name, 0)
    }

    /// A label of an unrolled loop's round.
    pub(super) const fn of_round(name: &'static str, round: u32) -> Self {
        Self(name, round)
    }
}

/// `BPF_PSEUDO_MAP_FD`: the 64-bit immediate is a map's descriptor.
const PSEUDO_MAP_FD: u8 = 1;

const CLASS_LOAD_IMMEDIATE_64: u8 = 0x18;
const CLASS_LOAD: u8 = 0x61;
const CLASS_STORE: u8 = 0x63;
const CLASS_STORE_IMMEDIATE: u8 = 0x62;
const CLASS_ATOMIC_64: u8 = 0xdb;
const CLASS_ALU_32: u8 = 0x04;
const CLASS_ALU_64: u8 = 0x07;
const CLASS_JUMP_64: u8 = 0x05;
const CLASS_JUMP_32: u8 = 0x06;
const SOURCE_REGISTER: u8 = 0x08;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// Collects instructions and resolves the labels of jumps.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    instructions: Vec<Instruction>,
    labels: HashMap<Label, usize>,
    /// Jumps whose offsets are still to be filled in.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    fn push(&mut self, code: u8, to: Register, from: Register, offset: i16, immediate: i32) {
        let registers = to as u8 | (from as u8) << 4;
        self.instructions.push(Instruction { code, registers, offset, immediate });
    }

    /// Applies a 64-bit operation with an immediate, which is extended by its sign.
    pub(super) fn immediate(&mut self, operation: Operation, to: Register, value: i32) {
        self.push(CLASS_ALU_64 | operation.code(), to, Register::R0, 0, value);
    }

    /// Applies a 64-bit operation with a register.
    pub(super) fn register(&mut self, operation: Operation, to: Register, from: Register) {
        self.push(CLASS_ALU_64 | SOURCE_REGISTER | operation.code(), to, from, 0, 0);
    }

    /// Applies a 32-bit operation with an immediate; the upper half becomes zero.
    pub(super) fn immediate_32(&mut self, operation: Operation, to: Register, value: u32) {
        self.push(CLASS_ALU_32 | operation.code(), to, Register::R0, 0, value.cast_signed());
    }

    /// Applies a 32-bit operation with a register; the upper half becomes zero.
    pub(super) fn register_32(&mut self, operation: Operation, to: Register, from: Register) {
        self.push(CLASS_ALU_32 | SOURCE_REGISTER | operation.code(), to, from, 0, 0);
    }

    /// `to = *(from + offset)`.
    pub(super) fn load(&mut self, width: Width, to: Register, from: Register, offset: i16) {
        self.push(CLASS_LOAD | width.code(), to, from, offset, 0);
    }

    /// `*(to + offset) = from`.
    pub(super) fn store(&mut self, width: Width, to: Register, offset: i16, from: Register) {
        self.push(CLASS_STORE | width.code(), to, from, offset, 0);
    }

    /// `*(to + offset) = value`.
    pub(super) fn store_immediate(&mut self, width: Width, to: Register, offset: i16, value: i32) {
        self.push(CLASS_STORE_IMMEDIATE | width.code(), to, Register::R0, offset, value);
    }

    /// `*(to + offset) += from`, 64 bits, atomically.
    pub(super) fn atomic_add(&mut self, to: Register, offset: i16, from: Register) {
        self.push(CLASS_ATOMIC_64, to, from, offset, 0);
    }

    /// Loads a 64-bit constant.
    pub(super) fn constant(&mut self, to: Register, value: u64) {
        self.wide(to, Register::R0 as u8, value);
    }

    /// Loads the address of a map.
    pub(super) fn map(&mut self, to: Register, descriptor: i32) {
        self.wide(to, PSEUDO_MAP_FD, u64::from(descriptor.cast_unsigned()));
    }

    fn wide(&mut self, to: Register, source: u8, value: u64) {
        let [low, high] = [value & 0xffff_ffff, value >> 32]
            .map(|half| u32::try_from(half).unwrap_or(0).cast_signed());
        let registers = to as u8 | source << 4;
        self.instructions.push(Instruction {
            code: CLASS_LOAD_IMMEDIATE_64,
            registers,
            offset: 0,
            immediate: low,
        });
        self.instructions.push(Instruction { immediate: high, ..Instruction::default() });
    }

    /// Calls a helper function of the kernel.
    pub(super) fn call(&mut self, helper: i32) {
        self.push(CALL, Register::R0, Register::R0, 0, helper);
    }

    /// Jumps if a register compares to an immediate.
    pub(super) fn jump_if(
        &mut self,
        condition: Condition,
        left: Register,
        right: i32,
        target: Label,
    ) {
        self.jumps.push((self.instructions.len(), target));
        self.push(CLASS_JUMP_64 | condition.code(), left, Register::R0, 0, right);
    }

    /// Jumps if the lower halves of a register and an immediate compare so.
    pub(super) fn jump_if_32(
        &mut self,
        condition: Condition,
        left: Register,
        right: u32,
        target: Label,
    ) {
        self.jumps.push((self.instructions.len(), target));
        self.push(CLASS_JUMP_32 | condition.code(), left, Register::R0, 0, right.cast_signed());
    }

    /// Jumps if two registers compare so.
    pub(super) fn jump_if_registers(
        &mut self,
        condition: Condition,
        left: Register,
        right: Register,
        target: Label,
    ) {
        self.jumps.push((self.instructions.len(), target));
        self.push(CLASS_JUMP_64 | SOURCE_REGISTER | condition.code(), left, right, 0, 0);
    }

    /// Jumps always.
    pub(super) fn jump(&mut self, target: Label) {
        self.jumps.push((self.instructions.len(), target));
        self.push(CLASS_JUMP_64, Register::R0, Register::R0, 0, 0);
    }

    /// Puts a label before the next instruction.
    pub(super) fn label(&mut self, label: Label) {
        self.labels.insert(label, self.instructions.len());
    }

    /// Ends the program with the value of `R0`.
    pub(super) fn exit(&mut self) {
        self.push(EXIT, Register::R0, Register::R0, 0, 0);
    }

    /// The finished program, or `None` if a jump has no target within reach.
    pub(super) fn finish(mut self) -> Option<Vec<Instruction>> {
        for (from, label) in self.jumps {
            let target = i64::try_from(*self.labels.get(&label)?).ok()?;
            let next = i64::try_from(from).ok()? + 1;
            self.instructions[from].offset = i16::try_from(target - next).ok()?;
        }
        Some(self.instructions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_counts_from_the_instruction_behind_it() {
        let end = Label::new("end");
        let mut assembler = Assembler::default();
        assembler.jump_if(Condition::Equal, Register::R1, 7, end);
        assembler.constant(Register::R0, 1);
        assembler.label(end);
        assembler.exit();
        let program = assembler.finish().unwrap();
        assert_eq!(program.len(), 4);
        assert_eq!(program[0].offset, 2);
    }

    #[test]
    fn a_jump_without_a_target_makes_no_program() {
        let mut assembler = Assembler::default();
        assembler.jump(Label::new("missing"));
        assert_eq!(assembler.finish(), None);
    }

    #[test]
    fn instructions_are_encoded_as_the_kernel_documents_them() {
        let mut assembler = Assembler::default();
        assembler.immediate(Operation::Move, Register::R0, -1);
        assembler.load(Width::Word, Register::R7, Register::R10, -8);
        assembler.store(Width::Double, Register::R0, 8, Register::R9);
        assembler.exit();
        let encode = |instruction: &Instruction| {
            (instruction.code, instruction.registers, instruction.offset, instruction.immediate)
        };
        let program: Vec<_> = assembler.finish().unwrap().iter().map(encode).collect();
        assert_eq!(
            program,
            [(0xb7, 0, 0, -1), (0x61, 0xa7, -8, 0), (0x7b, 0x90, 8, 0), (0x95, 0, 0, 0)]
        );
    }
}
