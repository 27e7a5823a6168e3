/** Opens the one WebSocket of this client, to the server that the page came from. */

import type { Dialer, Link, LinkEars } from '~/model/ports';
import { NO_CODE } from '~/link/ports';
import type { Bytes } from '~/protocol/bytes';
import { SUBPROTOCOL } from '~/protocol/messages';

/** RFC 6455, 7.4.1: a kind of data that was not expected. */
const UNEXPECTED_DATA = 1003;

/** `origin`: of the page, `https://…`, or `http://localhost:…` in development. */
export class BrowserDialer implements Dialer {
    readonly #url: string;

    constructor(origin: string) {
        this.#url = `${origin.replace(/^http/, 'ws')}/v1/socket`;
    }

    dial(ears: LinkEars): Link {
        try {
            return new BrowserLink(new WebSocket(this.#url, SUBPROTOCOL), ears);
        } catch {
            // The browser would not even try: told like any other failure, and not before this returned.
            queueMicrotask(() => ears.closed(NO_CODE));
            return NO_LINK;
        }
    }
}

const NO_LINK: Link = { send: () => undefined, close: () => undefined, unsentBytes: 0 };

class BrowserLink implements Link {
    readonly #socket: WebSocket;
    #ears: LinkEars | null;

    constructor(socket: WebSocket, ears: LinkEars) {
        this.#socket = socket;
        this.#ears = ears;
        socket.binaryType = 'arraybuffer';
        socket.onopen = () => {
            if (socket.protocol !== SUBPROTOCOL) this.#end(NO_CODE);
        };
        socket.onmessage = (event: MessageEvent<unknown>) => {
            if (event.data instanceof ArrayBuffer) this.#ears?.frame(new Uint8Array(event.data));
            else this.#end(UNEXPECTED_DATA);
        };
        // An error is always followed by a close.
        socket.onclose = (event) => this.#end(event.code === 0 ? NO_CODE : event.code);
    }

    get unsentBytes(): number {
        return this.#socket.bufferedAmount;
    }

    send(data: Bytes): void {
        if (this.#ears !== null && this.#socket.readyState === WebSocket.OPEN) this.#socket.send(data);
    }

    close(): void {
        this.#ears = null;
        this.#socket.close();
    }

    #end(code: number): void {
        const ears = this.#ears;
        this.close();
        ears?.closed(code);
    }
}
