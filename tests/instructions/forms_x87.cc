// SPDX-License-Identifier: Apache-2.0
#include "forms.h"

namespace lockstep::instructions {

namespace {

constexpr FormRow kX87Rows[] = {
    {"fadd fmul fcom fcomp fsub fsubr fdiv fdivr", "D8 /0+1", "Md", "", "f"},
    {"fadd fmul fcom fcomp fsub fsubr fdiv fdivr", "DC /0+1", "Mq", "", "f"},
    {"fiadd fimul ficom ficomp fisub fisubr fidiv fidivr", "DA /0+1", "Md"},
    {"fiadd fimul ficom ficomp fisub fisubr fidiv fidivr", "DE /0+1", "Mw"},
    {"fadd fmul fcom fcomp fsub fsubr fdiv fdivr", "D8 C0+8", "STi"},
    {"fadd fmul", "DC C0+8", "STi"},
    {"fsubr fsub fdivr fdiv", "DC E0+8", "STi"},
    {"faddp fmulp", "DE C0+8", "STi"},
    {"fsubrp fsubp fdivrp fdivp", "DE E0+8", "STi"},
    {"fcompp", "DE D9", ""},
    {"fld", "D9 /0", "Md", "", "f"},
    {"fst fstp", "D9 /2+1", "Md"},
    {"fld", "DD /0", "Mq", "", "f"},
    {"fisttp fst fstp", "DD /1+1", "Mq"},
    {"fld", "DB /5", "Mt", "", "f"},
    {"fstp", "DB /7", "Mt"},
    {"fild fisttp fist fistp", "DB /0+1", "Md"},
    {"fild fisttp fist fistp", "DF /0+1", "Mw"},
    {"fbld", "DF /4", "Mt"},
    {"fild fbstp", "DF /5+1", "Mq"},
    {"fistp", "DF /7", "Mq"},
    {"fld fxch", "D9 C0+8", "STi"},
    {"fst fstp", "DD D0+8", "STi"},
    {"ffree", "DD C0", "STi"},
    {"fucom fucomp", "DD E0+8", "STi"},
    {"fucompp", "DA E9", ""},
    {"fcmovb fcmove fcmovbe fcmovu", "DA C0+8", "STi"},
    {"fcmovnb fcmovne fcmovnbe fcmovnu", "DB C0+8", "STi"},
    {"fucomi fcomi", "DB E8+8", "STi"},
    {"fucomip fcomip", "DF E8+8", "STi"},
    {"fnop", "D9 D0", ""},
    {"fchs fabs", "D9 E0+1", ""},
    {"ftst fxam", "D9 E4+1", ""},
    {"fld1 fldl2t fldl2e fldpi fldlg2 fldln2 fldz", "D9 E8+1", ""},
    {"f2xm1 fyl2x fptan fpatan fxtract fprem1 fdecstp fincstp", "D9 F0+1", ""},
    {"fprem fyl2xp1 fsqrt fsincos frndint fscale fsin fcos", "D9 F8+1", ""},
    {"fldcw", "D9 /5", "Mw", "", "a"},
    {"fnstcw", "D9 /7", "Mw"},
    {"fnstsw", "DD /7", "Mw"},
    {"fnstsw", "DF E0", ""},
    {"fnclex fninit", "DB E2+1", ""},
    {"fwait", "9B", ""},
};

// What user code may try and must not get: #GP, #UD.
constexpr FormRow kSystemRows[] = {
    {"ud2", "0F 0B", "", "", "!"},
    {"ud1", "0F B9", "Gv,Ev", "", "!"},
    {"int3", "CC", "", "", "!"},
    {"int", "CD", "Ib", "", "!"},
    {"hlt", "F4", "", "", "!"},
    {"cli sti", "FA+1", "", "", "!"},
    {"in in", "E4+1", "Ib", "", "!"},
    {"out out", "E6+1", "Ib", "", "!"},
    {"in in out out", "EC+1", "", "", "!"},
    {"ins", "6C", "b", "", "!"},
    {"ins", "6D", "v", "", "!"},
    {"outs", "6E", "b", "", "!"},
    {"outs", "6F", "v", "", "!"},
    {"clts", "0F 06", "", "", "!"},
    {"invd wbinvd", "0F 08+1", "", "", "!"},
    {"wrmsr", "0F 30", "", "", "!"},
    {"rdmsr", "0F 32", "", "", "!"},
    {"mov", "0F 20", "Rq,Cq", "", "!"},
    {"mov", "0F 22", "Cq,Rq", "", "!"},
    {"mov", "0F 21", "Rq,Cq", "", "!"},
    {"mov", "0F 23", "Cq,Rq", "", "!"},
    {"lgdt lidt", "0F 01 /2+1", "Mt", "", "!"},
    {"lldt ltr", "0F 00 /2+1", "Ew", "", "!"},
    {"lmsw", "0F 01 /6", "Ew", "", "!"},
    {"invlpg", "0F 01 /7", "Mb", "", "!"},
    {"swapgs", "0F 01 F8", "", "", "!"},
    {"sysret", "0F 07", "", "", "!"},
    {"rdfsbase rdgsbase", "F3 0F AE /0+1", "Ry"},
    // invalid in 64-bit mode
    {"push pop", "06+1", "", "", "!"},
    {"push", "0E", "", "", "!"},
    {"push pop", "16+1", "", "", "!"},
    {"push pop", "1E+1", "", "", "!"},
    {"daa das aaa aas", "27+8", "", "", "!"},
    {"pusha popa", "60+1", "", "", "!"},
    {"add", "82 /0", "Eb,Ib", "", "!"},
    {"into", "CE", "", "", "!"},
    {"aam aad", "D4+1", "Ib", "", "!"},
    {"salc", "D6", "", "", "!"},
    {"bad", "FE /2", "Eb", "", "!"},
    {"bad", "FF /7", "Ev", "", "!"},
    {"bad", "C6 /1", "Eb,Ib", "", "!"},
    {"bad", "0F 04", "", "", "!"},
    {"bad", "0F 24", "", "", "!"},
    {"bad", "0F 36", "", "", "!"},
    {"bad", "0F FF", "Gv,Ev", "", "!"},
};

}  // namespace

std::span<const FormRow> x87_rows() { return kX87Rows; }
std::span<const FormRow> system_rows() { return kSystemRows; }

}  // namespace lockstep::instructions
