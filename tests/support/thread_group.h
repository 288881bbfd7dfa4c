// A process group of threads, so that what processes do together is tested in one process.
#ifndef TERN_TESTS_SUPPORT_THREAD_GROUP_H_
#define TERN_TESTS_SUPPORT_THREAD_GROUP_H_

#include <algorithm>
#include <barrier>
#include <cstdlib>
#include <functional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "trainer/process_group.h"

namespace tern {

class ThreadGroup final : public ProcessGroup {
 public:
  // Where the members of a group meet.
  struct Meeting {
    explicit Meeting(int members) : size(members), floats(size), doubles(size), barrier(members) {}
    const size_t size;
    std::vector<std::span<float>> floats;
    std::vector<std::span<double>> doubles;
    std::span<std::byte> bytes;
    std::barrier<> barrier;
  };
  ThreadGroup(Meeting& meeting, int rank) : meeting_(meeting), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(meeting_.size); }
  std::string host() const override { return "thread"; }
  void Sum(std::span<float> values) override { AddUp(meeting_.floats, values); }
  void Sum(std::span<double> values) override { AddUp(meeting_.doubles, values); }
  void Broadcast(std::span<std::byte> bytes, int from) override {
    if (rank_ == from) meeting_.bytes = bytes;
    meeting_.barrier.arrive_and_wait();
    if (rank_ != from) std::ranges::copy(meeting_.bytes, bytes.begin());
    meeting_.barrier.arrive_and_wait();
  }
  void Leave() override { meeting_.barrier.arrive_and_wait(); }
  [[noreturn]] void Abort() override { std::abort(); }

 private:
  template <class T>
  void AddUp(std::vector<std::span<T>>& all, std::span<T> own) {
    all[static_cast<size_t>(rank_)] = own;
    meeting_.barrier.arrive_and_wait();
    std::vector<T> sums(own.size());
    for (const std::span<T> values : all)
      std::ranges::transform(sums, values, sums.begin(), std::plus<T>());
    meeting_.barrier.arrive_and_wait();
    std::ranges::copy(sums, own.begin());
  }

  Meeting& meeting_;
  const int rank_;
};

// Runs `member` once in each of `size` threads.
inline void RunInGroup(int size, const std::function<void(ProcessGroup&)>& member) {
  ThreadGroup::Meeting meeting(size);
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&meeting, &member, rank] {
      ThreadGroup group(meeting, rank);
      member(group);
    });
  }
}

}  // namespace tern

#endif  // TERN_TESTS_SUPPORT_THREAD_GROUP_H_
