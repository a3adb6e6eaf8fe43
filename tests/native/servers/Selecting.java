import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.Iterator;

/** The same with NIO: one thread, one `Selector`.  `java Selecting PORT`. */
public class Selecting {
    public static void main(String[] arguments) throws Exception {
        Selector selector = Selector.open();
        ServerSocketChannel listener = ServerSocketChannel.open();
        listener.bind(new InetSocketAddress(Integer.parseInt(arguments[0])));
        listener.configureBlocking(false);
        listener.register(selector, SelectionKey.OP_ACCEPT);
        ByteBuffer buffer = ByteBuffer.allocate(4096);
        while (true) {
            selector.select();
            for (Iterator<SelectionKey> keys = selector.selectedKeys().iterator(); keys.hasNext();) {
                SelectionKey key = keys.next();
                keys.remove();
                if (key.isAcceptable()) {
                    SocketChannel client = listener.accept();
                    if (client == null) {
                        continue;
                    }
                    InetSocketAddress peer = (InetSocketAddress) client.getRemoteAddress();
                    client.write(ByteBuffer.wrap(String.format("{\"pid\": %d, \"peer\": [\"%s\", %d]}\n",
                            ProcessHandle.current().pid(), peer.getAddress().getHostAddress(), peer.getPort()).getBytes()));
                    client.configureBlocking(false);
                    client.register(selector, SelectionKey.OP_READ);
                } else {
                    SocketChannel client = (SocketChannel) key.channel();
                    buffer.clear();
                    if (client.read(buffer) < 0) {
                        client.close();
                    } else {
                        client.write(buffer.flip());
                    }
                }
            }
        }
    }
}
