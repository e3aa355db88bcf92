// SPDX-License-Identifier: Apache-2.0
#include "lockstep/manual.h"

#include <algorithm>
#include <cctype>

#include "control/actions.h"
#include "host/role.h"
#include "lockstep/commands.h"
#include "vmm/version.h"

namespace lockstep {

namespace {

using Commands = std::vector<const CLI::App*>;

/// Those that people use, in the order in which they were added.
Commands commands_of(const CLI::App& app) {
    return app.get_subcommands([](const CLI::App* command) { return !command->get_group().empty(); });
}

std::vector<const CLI::Option*> options_of(const CLI::App& app) {
    std::vector<const CLI::Option*> options;
    for (const CLI::Option* option : app.get_options())
        if (!option->get_group().empty()) options.push_back(option);
    return options;
}

/// "cluster init": the words after the program's name.
std::string words_of(const CLI::App& app) {
    if (!app.get_parent()) return "";
    std::string before = words_of(*app.get_parent());
    return before.empty() ? app.get_name() : before + " " + app.get_name();
}

/// Each command that does something, with those inside of others.
Commands leaves_of(const CLI::App& app) {
    Commands leaves;
    for (const CLI::App* command : commands_of(app)) {
        Commands inner = leaves_of(*command);
        if (inner.empty()) inner.push_back(command);
        leaves.insert(leaves.end(), inner.begin(), inner.end());
    }
    return leaves;
}

/// Text as man(7) wants it.
std::string roff(const std::string& text) {
    std::string escaped;
    for (char c : text) {
        if (c == '\\')
            escaped += "\\e";
        else if (c == '-')
            escaped += "\\-";
        else
            escaped += c;
    }
    return escaped.starts_with('.') || escaped.starts_with('\'') ? "\\&" + escaped : escaped;
}

std::string upper(std::string text) {
    std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::toupper(c); });
    return text;
}

std::string synopsis_of(const CLI::App& command) {
    std::string text = words_of(command);
    for (const CLI::Option* option : options_of(command)) {
        if (!option->get_positional()) continue;
        std::string word = upper(option->get_name(true));
        text += option->get_required() ? " " + word : " [" + word + "]";
    }
    return text;
}

/// "--hours NUMBER": the switch, and what follows it.
std::string heading_of(const CLI::Option& option) {
    if (option.get_positional()) return upper(option.get_name(true));
    std::string text;
    for (const std::string& name : option.get_snames()) text += (text.empty() ? "-" : ", -") + name;
    for (const std::string& name : option.get_lnames()) text += (text.empty() ? "--" : ", --") + name;
    return option.get_items_expected_max() == 0 ? text : text + " VALUE";
}

std::string capitalised(std::string text) {
    if (!text.empty()) text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
    return text;
}

std::string section_of(const CLI::App& command) {
    std::string page = fmt::format(".SS {}\n{}.\n", roff(synopsis_of(command)),
                                   roff(capitalised(command.get_description())));
    if (!command.get_footer().empty()) page += fmt::format("{}\n", roff(command.get_footer()));
    for (const CLI::Option* option : options_of(command)) {
        if (option->get_name() == "--help") continue;
        std::string meaning = option->get_description();
        page += fmt::format(".TP\n.B {}\n{}\n", roff(heading_of(*option)),
                            roff(meaning.empty() ? "see lockstep --help" : meaning));
    }
    return page;
}

std::string shell_list(const std::vector<std::string>& words) {
    std::string list;
    for (const std::string& word : words) list += (list.empty() ? "" : " ") + word;
    return list;
}

/// What may stand behind a command: its commands, its switches, and words that its arguments may be.
std::string completions_of(const CLI::App& app) {
    std::vector<std::string> words;
    for (const CLI::App* command : commands_of(app)) words.push_back(command->get_name());
    bool wants_vm = false;
    for (const CLI::Option* option : options_of(app)) {
        for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
        wants_vm = wants_vm || option->get_name(true) == "vm";
    }
    if (const control::Action* action = control::find_action(app.get_name()))
        for (const control::Argument& argument : action->arguments)
            words.insert(words.end(), argument.choices.begin(), argument.choices.end());
    return fmt::format("words=\"{}{}\"", shell_list(words), wants_vm ? " $(_lockstep_vms)" : "");
}

void add_cases(const CLI::App& app, std::string& cases, std::vector<std::string>& known) {
    std::string words = words_of(app);
    cases += fmt::format("        \"{}\") {} ;;\n", words, completions_of(app));
    if (!words.empty()) known.push_back("\"" + words + "\"");
    for (const CLI::App* command : commands_of(app)) add_cases(*command, cases, known);
}

std::string alternatives(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : " | ") + word;
    return text;
}

}  // namespace

std::string manual_page(const CLI::App& program) {
    std::string page = fmt::format(
        ".\\\" Made by `lockstep manual-page` from the program's own tables.\n"
        ".TH LOCKSTEP 1 \"\" \"Lockstep {}\" \"Lockstep\"\n"
        ".SH NAME\nlockstep \\- fault\\-tolerant virtual machines by deterministic replay\n"
        ".SH SYNOPSIS\n.B lockstep\n.I COMMAND\n[\\fIARGUMENTS\\fR]\n"
        ".SH DESCRIPTION\nA guest runs as two virtual machines on two hosts; when one dies, the other goes "
        "on.\n"
        "docs/operation.md is the manual.\n.SH COMMANDS\n",
        vmm::kVersion);
    for (const CLI::App* command : leaves_of(program)) page += section_of(*command);
    page += ".SH ROLES\nOf people who use the API; each may do all that those before it may.\n";
    for (const host::RoleRow& role : host::kRoles)
        page += fmt::format(".TP\n.B {}\n{}\n", role.name, roff(std::string(role.meaning)));
    page += ".SH EXIT STATUS\n";
    for (const ExitStatusRow& row : exit_statuses())
        page += fmt::format(".TP\n.B {}\n{}\n", static_cast<int>(row.status), roff(std::string(row.meaning)));
    return page;
}

std::string bash_completion(const CLI::App& program) {
    std::string cases;
    std::vector<std::string> known;
    add_cases(program, cases, known);
    return fmt::format(R"(# Completion of lockstep(1) for bash; made by `lockstep completion`.
_lockstep_vms() {{
    local base=${{LOCKSTEP_RUNTIME:-/run/lockstep}} lock
    for lock in "$base"/*/pid; do
        [[ -e $lock ]] && lock=${{lock%/pid}} && printf '%s\n' "${{lock##*/}}"
    done
}}
_lockstep() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} command="" longer words="" i
    for ((i = 1; i < COMP_CWORD; ++i)); do
        longer="${{command:+$command }}${{COMP_WORDS[i]}}"
        case "$longer" in
        {}) command=$longer ;;
        esac
    done
    case "$command" in
{}    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o bashdefault -o default -F _lockstep lockstep
)",
                       alternatives(known), cases);
}

void add_manual_commands(CLI::App& program) {
    program.add_subcommand("manual-page", "Print the manual page lockstep(1)")->callback([&program] {
        fmt::print("{}", manual_page(program));
    });
    program.add_subcommand("completion", "Print the completion for bash")->callback([&program] {
        fmt::print("{}", bash_completion(program));
    });
}

}  // namespace lockstep
