// The thread pool: a few threads that sleep while idle, and a barrier for those at work.
#pragma once

namespace unrolled {

class Pool;

// A claim on the pool for one job. If another caller holds the pool, or a thread cannot be started,
// the claim holds fewer threads, at least the caller's own: results never depend on how many.
class Lease {
  public:
    explicit Lease(int threads);  // threads >= 1
    ~Lease();
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    int threads() const { return threads_; }

    // Runs job(context, thread) for thread = 0 .. threads() - 1, the caller being thread 0, and
    // returns true when all have returned. The job must not throw. False: fewer threads came together than
    // there were, the job has not begun, and threads() is now how many there are.
    bool run(void (*job)(void* context, int thread), void* context);

    // Within a job: returns when every thread of this job has called it. Spins briefly, then sleeps.
    void barrier();

  private:
    Pool* pool_ = nullptr;  // null: none held, the caller's own thread is all there is
    int threads_ = 1;
};

// The team of an OpenMP runtime that the program uses anyway: its threads are awake where they have just
// worked, and spin for milliseconds afterwards, on the cores that threads of our own would want.
struct Team {
    // GOMP_parallel: runs job(data) on each of `threads` threads, the caller's among them.
    void (*parallel)(void (*job)(void*), void* data, unsigned threads, unsigned flags) = nullptr;
    int (*size)() = nullptr;         // omp_get_num_threads: of the team that the caller is in
    int (*in_parallel)() = nullptr;  // omp_in_parallel
};

// From here on jobs run on this team; all null: on the pool's own threads. The team may have another size
// each time, as the runtime likes (OMP_DYNAMIC, OMP_THREAD_LIMIT). In the child of a fork, where its threads
// are gone, it is used no more.
void borrow(Team team);

}  // namespace unrolled
