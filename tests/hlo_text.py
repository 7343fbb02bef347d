"""Texts of small programs, written by hand in XLA's notation."""

# ruff: noqa: E501 (lines of a program's text are what they are)

from transformer.hardware.hlo import parse

# A loop of four rounds whose body reduces over pairs of devices, and one whose end is unknown.
PROGRAM = """
HloModule jit_step, is_scheduled=true

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %sum = f32[] add(%x, %y)
}

%sliced (p0: bf16[4,256,128], p1: s32[], p2: bf16[128,512]) -> bf16[256,512] {
  %p0 = bf16[4,256,128]{2,1,0:T(8,128)(2,1)} parameter(0)
  %p1 = s32[]{:T(128)} parameter(1)
  %zero = s32[] constant(0)
  %part = bf16[1,256,128]{2,1,0} dynamic-slice(%p0, %p1, %zero, %zero), dynamic_slice_sizes={1,256,128}
  %rows = bf16[256,128]{1,0} bitcast(%part)
  %p2 = bf16[128,512]{1,0} parameter(2)
  ROOT %dot.1 = bf16[256,512]{1,0} dot(%rows, %p2), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%body (c: (s32[], f32[100], bf16[4,256,128], bf16[128,512])) -> (s32[], f32[100], bf16[4,256,128], bf16[128,512]) {
  %c = (s32[], f32[100]{0}, bf16[4,256,128]{2,1,0}, bf16[128,512]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%c), index=0
  %v = f32[100]{0} get-tuple-element(%c), index=1
  %a = bf16[4,256,128]{2,1,0} get-tuple-element(%c), index=2
  %b = bf16[128,512]{1,0} get-tuple-element(%c), index=3
  %fusion.7 = bf16[256,512]{1,0} fusion(%a, %i, %b), kind=kOutput, calls=%sliced
  %all-reduce.1 = f32[100]{0} all-reduce(%v), channel_id=1, replica_groups=[4,2]<=[8], to_apply=%add
  ROOT %t = (s32[], f32[100]{0}, bf16[4,256,128]{2,1,0}, bf16[128,512]{1,0}) tuple(%i, %all-reduce.1, %a, %b)
}

%four (c: (s32[], f32[100])) -> pred[] {
  %c = (s32[], f32[100]{0}) parameter(0)
  %limit = s32[] constant(4)
  %i = s32[] get-tuple-element(%c), index=0
  ROOT %lt = pred[] compare(%i, %limit), direction=LT
}

%until (c: (s32[], f32[100])) -> pred[] {
  %c = (s32[], f32[100]{0}) parameter(0)
  %i = s32[] get-tuple-element(%c), index=0
  ROOT %not = pred[] compare(%i, %i), direction=NE
}

ENTRY %main (a: bf16[4,256,128], b: bf16[128,512], v: f32[100]) -> f32[800] {
  %a = bf16[4,256,128]{2,1,0} parameter(0), metadata={op_name="a (b) = c"}
  %b = bf16[128,512]{1,0} parameter(1)
  %v = f32[100]{0} parameter(2)
  %n = s32[] constant(0)
  %start = (s32[], f32[100]{0}, bf16[4,256,128]{2,1,0}, /*index=3*/bf16[128,512]{1,0}) tuple(%n, %v, %a, %b)
  %while.1 = (s32[], f32[100]{0}, bf16[4,256,128]{2,1,0}, bf16[128,512]{1,0}) while(%start), condition=%four, body=%body
  %while.2 = (s32[], f32[100]{0}, bf16[4,256,128]{2,1,0}, bf16[128,512]{1,0}) while(%while.1), condition=%until, body=%body
  %w = f32[100]{0} get-tuple-element(%while.2), index=1
  %all-gather-start.1 = (f32[100]{0}, f32[800]{0}) all-gather-start(%w), channel_id=2, replica_groups={{0,1,2,3,4,5,6,7}}, dimensions={0}
  ROOT %all-gather-done.1 = f32[800]{0} all-gather-done(%all-gather-start.1)
}
"""


def lines(*instructions):
    """A program of these instructions."""
    return parse("\n".join(["ENTRY %main () -> f32[] {", *(f"  {i}" for i in instructions), "}"]))
