/** Short confirmations that leave by themselves. Failures do not come here: they stay where they happened. */

export interface Toast {
  id: number;
  text: string;
}

const SHOWN_MS = 4000;
const MOST = 3;

class Toasts {
  list = $state<Toast[]>([]);
  private last = 0;

  say(text: string) {
    this.last += 1;
    const id = this.last;
    this.list = [...this.list, { id, text }].slice(-MOST);
    setTimeout(() => {
      this.list = this.list.filter((toast) => toast.id !== id);
    }, SHOWN_MS);
  }
}

export const toasts = new Toasts();
