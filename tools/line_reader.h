// Lines that a user types, with editing and history (libedit), or that a file or pipe brings.
#ifndef TERN_TOOLS_LINE_READER_H_
#define TERN_TOOLS_LINE_READER_H_

#include <memory>
#include <string>

namespace tern {

// One at a time in a program. Not thread-safe.
class LineReader {
 public:
  enum class Input {
    kLine,
    kInterrupt,  // Ctrl-C, on a terminal
    kEnd,        // Ctrl-D, or the input's end
  };

  // Reads stdin; edits where stdin and stdout are terminals. With a path, lines of earlier runs are
  // read from there, and this run's are added at the end. Throws Error where the file cannot be
  // read.
  explicit LineReader(std::string history_file);
  ~LineReader();  // never throws: a history that cannot be written is said on stderr
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  bool terminal() const { return editor_ != nullptr; }
  // On a terminal, Ctrl-C is a key from here to the end of the next Read, and a signal otherwise.
  void TakeKeys();
  // `line` has no line feed. The prompt is only shown on a terminal.
  Input Read(const char* prompt, std::string& line);

 private:
  struct Editor;
  std::unique_ptr<Editor> editor_;  // null: no terminal
};

}  // namespace tern

#endif  // TERN_TOOLS_LINE_READER_H_
