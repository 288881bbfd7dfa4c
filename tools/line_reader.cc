#include "tools/line_reader.h"

#include <histedit.h>
#include <langinfo.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <iostream>
#include <string_view>
#include <utility>

#include "engine/atomic_file.h"

namespace tern {
namespace {

constexpr int kHistoryLines = 1000;

// libedit reads characters as the locale says; everything here is UTF-8.
void UseUtf8() {
  std::setlocale(LC_CTYPE, "");
  if (std::string_view(nl_langinfo(CODESET)) != "UTF-8") std::setlocale(LC_CTYPE, "C.UTF-8");
}

std::string WithoutLineFeed(std::string_view line) {
  if (line.ends_with('\n')) line.remove_suffix(1);
  return std::string(line);
}

}  // namespace

struct LineReader::Editor {
  explicit Editor(std::string file) : history_file(std::move(file)) {
    UseUtf8();
    edit = el_init("tern", stdin, stdout, stderr);
    history_lines = history_init();
    HistEvent event;
    history(history_lines, &event, H_SETSIZE, kHistoryLines);
    history(history_lines, &event, H_SETUNIQUE, 1);
    el_set(edit, EL_CLIENTDATA, this);
    el_set(edit, EL_PROMPT, &Prompt);
    el_set(edit, EL_EDITOR, "emacs");
    el_set(edit, EL_HIST, history, history_lines);
    el_set(edit, EL_SIGNAL, 1);  // the terminal's size may change, and the program be stopped
    // Ctrl-C is a key here: as a signal it would not end the reading of a line.
    el_set(edit, EL_SETTY, "-d", "-isig", nullptr);
    el_set(edit, EL_ADDFN, "tern-interrupt", "gives the line up", &Interrupt);
    el_set(edit, EL_BIND, "^C", "tern-interrupt", nullptr);
    el_source(edit, nullptr);  // the user's ~/.editrc
    Load();
  }
  ~Editor() {
    Save();
    el_end(edit);
    history_end(history_lines);
  }
  Editor(const Editor&) = delete;
  Editor& operator=(const Editor&) = delete;

  static Editor& Of(EditLine* edit) {
    void* editor = nullptr;
    el_get(edit, EL_CLIENTDATA, &editor);
    return *static_cast<Editor*>(editor);
  }
  static char* Prompt(EditLine* edit) { return const_cast<char*>(Of(edit).prompt); }
  static unsigned char Interrupt(EditLine* edit, int /*key*/) {
    Of(edit).interrupted = true;
    return CC_EOF;
  }

  void Remember(const std::string& line) {
    HistEvent event;
    history(history_lines, &event, H_ENTER, line.c_str());
  }
  void Load() {
    if (history_file.empty() || !std::filesystem::exists(history_file)) return;
    const std::string text = ReadFile(history_file);
    for (std::string_view rest = text; !rest.empty();) {
      const size_t end = std::min(rest.find('\n'), rest.size());
      if (end > 0) Remember(std::string(rest.substr(0, end)));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  void Save() const {
    if (history_file.empty()) return;
    try {
      AtomicFile file(history_file);
      HistEvent event;
      // From the oldest: libedit counts from the newest.
      for (int got = history(history_lines, &event, H_LAST); got >= 0;
           got = history(history_lines, &event, H_PREV))
        file.Write(std::string(event.str) + "\n");
      file.Commit();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "tern: %s\n", error.what());
    }
  }

  const std::string history_file;
  EditLine* edit = nullptr;
  History* history_lines = nullptr;
  const char* prompt = "";
  bool interrupted = false;
};

LineReader::LineReader(std::string history_file) {
  if (isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0)
    editor_ = std::make_unique<Editor>(std::move(history_file));
}
LineReader::~LineReader() = default;

void LineReader::TakeKeys() {
  if (terminal()) el_set(editor_->edit, EL_PREP_TERM, 1);
}

LineReader::Input LineReader::Read(const char* prompt, std::string& line) {
  if (!terminal()) return std::getline(std::cin, line) ? Input::kLine : Input::kEnd;
  TakeKeys();  // libedit would do so behind the prompt, where a user may already answer it
  editor_->prompt = prompt;
  editor_->interrupted = false;
  int size = 0;
  const char* read = el_gets(editor_->edit, &size);
  if (read == nullptr || size <= 0) {
    std::fputc('\n', stdout);
    return editor_->interrupted ? Input::kInterrupt : Input::kEnd;
  }
  line = WithoutLineFeed({read, static_cast<size_t>(size)});
  if (!line.empty()) editor_->Remember(line);
  return Input::kLine;
}

}  // namespace tern
